"""CRCHistoPhenotypes, colon; TFDS finds the builder here."""
