"""A user's own folder; TFDS finds the builder here."""
