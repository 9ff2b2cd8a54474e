"""Passes that heal what was cut."""

from prunec.passes.repair.refit import Refit

__all__ = ["Refit"]
