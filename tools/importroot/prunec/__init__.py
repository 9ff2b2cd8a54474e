"""A pruning compiler: a transformer in, a smaller program and its engine out."""

__version__ = "0.1.0"
