"""Measurements of the platform on itself: what is run, and the reports under docs/results that it prints."""
