"""MoNuSeg, many organs; TFDS finds the builder here."""
