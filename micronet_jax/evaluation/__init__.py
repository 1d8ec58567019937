"""Compares points with annotations: matching, scores, intervals, reports."""
