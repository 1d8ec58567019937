"""NuInsSeg, many organs; TFDS finds the builder here."""
