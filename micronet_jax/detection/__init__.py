"""Finds nuclei in one image: the detector, its tiles, the search, the points."""
