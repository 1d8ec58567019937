"""A seeded generator of tissue that looks like H&E, with exact nucleus centres."""
