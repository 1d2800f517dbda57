"""Sampling responses from the current policy."""
