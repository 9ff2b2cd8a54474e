"""Sections on experts that the prompt chooses (GRIFFIN), one module for each library."""
