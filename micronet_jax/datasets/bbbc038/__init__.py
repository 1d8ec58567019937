"""BBBC038, nuclei of many kinds of tissue; TFDS finds the builder here."""
