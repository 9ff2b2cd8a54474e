"""Configurations of tiny models by name."""
