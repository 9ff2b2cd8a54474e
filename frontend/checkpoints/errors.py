"""What is wrong with a model reference."""

from __future__ import annotations


class SourceError(Exception):
    """A model reference leads to nothing that can be loaded; the message says what to do."""
