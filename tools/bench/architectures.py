"""Cut tiny random models of every architecture that the tests know, and write what came of it.

    python tools/bench/architectures.py
    python tools/bench/architectures.py --only llama gpt2 --fresh
    python tools/bench/architectures.py --torch-pruning

Needs no network: the models are built from configurations. What is in the JSON file already is not
run again; the Markdown table beside it is written anew each time. ``--torch-pruning`` lets that
library (``pip install torch-pruning==1.6.1``) cut the same models. Exit code: 0; 1 if a law does
not hold, a trace fails or ONNX Runtime disagrees; 2 if there is no such architecture.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from shared import sweep

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools" / "importroot"), str(ROOT / "tests")]
RESULTS = ROOT / "tools" / "bench" / "results" / "architectures.json"


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing and write both files."""
    options = _parse(arguments)
    known = import_module("support.architectures").ARCHITECTURES
    if unknown := sorted({*options.only} - {*known}):
        print(f"no architectures {unknown}; there are {sorted(known)}", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")  # of libraries, about their own future
    document = sweep.load(options.out)
    found = document["architectures"]
    wanted = options.only or list(known)
    if options.fresh:
        for name in wanted:
            found.pop(name, None)
    document |= {"seed": options.seed, "machine": import_module("shared.machine").describe(ROOT)}
    parts = ["prunec", *(["torch_pruning"] if options.torch_pruning else [])]
    missing = [(n, p) for n in wanted for p in parts if p not in found.get(n, {})]
    for name, part in sweep.shown(missing):
        found.setdefault(name, {})[part] = _guarded(part, name, options.seed)
        _write(options.out, document, list(known))
    _write(options.out, document, list(known))
    table = import_module("architectures_bench.table")
    bad = [name for name in wanted if not table.is_good(found[name]["prunec"])]
    print(f"{options.out}: {'not good: ' + ', '.join(bad) if bad else 'all is well'}")
    return 1 if bad else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Cut models of every architecture.",
        epilog="example: python tools/bench/architectures.py --only llama gpt2 --fresh",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON; a .md goes beside it")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these alone")
    parser.add_argument("--fresh", action="store_true", help="run again what is there already")
    parser.add_argument("--seed", type=int, default=0, help="of selections and inputs")
    parser.add_argument("--torch-pruning", action="store_true", help="let it cut the same models")
    return parser.parse_args(arguments)


def _guarded(part: str, name: str, seed: int) -> dict[str, Any]:
    run: Callable[[str, int], dict[str, Any]] = (
        import_module("architectures_bench.checks").check_architecture
        if part == "prunec"
        else import_module("architectures_bench.torch_pruning_peer").run_peer
    )
    started = time.perf_counter()
    try:
        result = run(name, seed)
    except Exception as error:  # one architecture's failure must not cost the others
        first = (str(error).strip().splitlines() or [""])[0]
        result = {"failed": f"{type(error).__name__}: {first}"}
    return {"seed": seed, "wall_seconds": round(time.perf_counter() - started, 1), **result}


def _write(path: Path, document: dict[str, Any], order: list[str]) -> None:
    ordered = sweep.in_order(document, order)
    sweep.write(path, ordered, import_module("architectures_bench.table").to_markdown(ordered))


if __name__ == "__main__":
    raise SystemExit(main())
