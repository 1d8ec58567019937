"""Detects in many images and writes the files that people open."""
