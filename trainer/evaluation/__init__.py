"""Evaluation on held-out problems, and the statistics of its results."""
