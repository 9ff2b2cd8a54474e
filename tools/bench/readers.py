"""Lower tiny random models of every architecture in three precisions for all readers of the files.

    python tools/bench/readers.py
    python tools/bench/readers.py --only llama vit --precisions bfloat16 --fresh

Each file is checked by onnx.checker in full, run in ONNX Runtime against torch, and built into an
engine by the TensorRT library that is installed. Needs no network and no GPU. What is in the JSON
file already is not run again; the Markdown table beside it is written anew each time. Exit code: 0;
1 if a reader refuses a file or disagrees; 2 if there is no such architecture.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from readers_bench.table import PRECISIONS, is_good, to_markdown
from shared import sweep

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools" / "importroot"), str(ROOT / "tests")]
RESULTS = ROOT / "tools" / "bench" / "results" / "readers.json"


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing and write both files."""
    options = _parse(arguments)
    known = import_module("support.architectures").ARCHITECTURES
    if unknown := sorted({*options.only} - {*known}):
        print(f"no architectures {unknown}; there are {sorted(known)}", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")  # of libraries, about their own future
    document = sweep.load(options.out)
    found: dict[str, dict[str, Any]] = document["architectures"]
    wanted = [(n, p) for n in options.only or known for p in options.precisions]
    document |= {"machine": import_module("shared.machine").describe(ROOT)}
    missing = [(n, p) for n, p in wanted if options.fresh or p not in found.get(n, {})]
    for name, precision in sweep.shown(missing):
        found.setdefault(name, {})[precision] = _guarded(name, precision)
        _write(options.out, document, list(known))
    _write(options.out, document, list(known))
    bad = [f"{n} in {p}" for n, p in wanted if not is_good(p, found[n][p])]
    print(f"{options.out}: {'not good: ' + ', '.join(bad) if bad else 'all is well'}")
    return 1 if bad else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Give the files of every architecture to their readers.",
        epilog="example: python tools/bench/readers.py --only llama vit --precisions bfloat16",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON; a .md goes beside it")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these alone")
    parser.add_argument(
        "--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="these alone"
    )
    parser.add_argument("--fresh", action="store_true", help="run again what is there already")
    return parser.parse_args(arguments)


def _guarded(name: str, precision: str) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        result = import_module("readers_bench.checks").check_readers(name, precision)
    except Exception as error:  # one architecture's failure must not cost the others
        result = {"failed": sweep.first_line(error)}
    return {"wall_seconds": round(time.perf_counter() - started, 1), **result}


def _write(path: Path, document: dict[str, Any], order: list[str]) -> None:
    ordered = sweep.in_order(document, order)
    sweep.write(path, ordered, to_markdown(ordered))


if __name__ == "__main__":
    raise SystemExit(main())
