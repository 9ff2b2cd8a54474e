"""Toy models, strategies and the oracle; for our tests and for authors of plug-ins."""
