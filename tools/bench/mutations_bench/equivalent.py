"""Planted errors that change nothing, and why: no test can notice them."""

EQUIVALENT: dict[str, str] = {}
