"""Runs and groups of runs set against one another: what lines are of, where they stand, and how they are smoothed."""
