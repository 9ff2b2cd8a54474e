"""One file for each command of ``prunec``."""
