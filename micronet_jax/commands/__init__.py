"""What `micronet` can do: a module for each command, with its options and its work."""
