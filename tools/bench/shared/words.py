"""Phrases that the tables of several benches share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def calibration_words(calibration: Mapping[str, Any]) -> str:
    """How much text was calibrated on, and how it was spread."""
    every = calibration.get("every", 1)
    spread = f" (one window in {every})" if every > 1 else ""
    size = f"{calibration['windows']} x {calibration['window_tokens']}"
    return f"{size} tokens of another text{spread}"
