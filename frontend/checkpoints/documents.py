"""Read the JSON files of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunec.frontend.checkpoints.findings import Finding


def read_object(path: Path) -> tuple[Mapping[str, Any], list[Finding]]:
    """What a JSON file holds that must be an object; empty and a finding where it does not."""
    obtain = "Obtain it again"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return {}, [Finding(f"{path.name} cannot be read ({error.strerror})", obtain)]
    except ValueError as error:  # of JSON, or of text that is not UTF-8
        there = f"it holds {path.stat().st_size} bytes that are no JSON: {error}"
        return {}, [Finding(f"{path.name} is damaged: {there}", obtain)]
    except RecursionError:
        return {}, [Finding(f"{path.name} is damaged: it is nested without end", obtain)]
    if not isinstance(document, dict):
        kind = type(document).__name__
        return {}, [Finding(f"{path.name} holds a {kind} of JSON, not an object", obtain)]
    return document, []
