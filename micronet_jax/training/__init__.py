"""Trains a detector: the job, the loop, the compiled step, its data."""
