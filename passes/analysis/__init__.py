"""Passes and functions that only look."""
