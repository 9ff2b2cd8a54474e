"""Let Torch-Pruning cut a model, in a process of its own with a limit of processor time.

Run as a script it is that process: ``torch_pruning_peer.py NAME FEEDS SEED`` prints ``ready`` and
then one JSON line.
"""

from __future__ import annotations

import inspect
import json
import math
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KEEP_RATE = 0.75
LIMIT_SECONDS = 40


def run_peer(name: str, seed: int) -> dict[str, Any]:
    """What becomes of the same tiny model: works, nothing cut, crashes or no answer.

    Args:
        name: One of the architectures of the tests.
        seed: Of the inputs.
    """
    from safetensors.torch import save_file

    from prunec.passes.ir import Role
    from support.architectures import random_feeds, traced_architecture

    entry = traced_architecture(name)[1].main
    caches = {p.name for p in entry.ports(Role.CACHE)[0]}
    feeds = random_feeds(entry, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "feeds.safetensors"
        save_file({n: t.contiguous() for n, t in feeds.items() if n not in caches}, path)
        return _answer([sys.executable, __file__, name, str(path), str(seed)])


def _answer(command: list[str]) -> dict[str, Any]:
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() not in ("ready", ""):
        pass
    started = time.perf_counter()
    output, errors = process.communicate()
    if process.returncode == -signal.SIGXCPU:
        return {"outcome": "no answer", "detail": f"in {LIMIT_SECONDS} s"}
    if process.returncode or not output.strip():
        last = (errors.strip().splitlines() or ["no message"])[-1]
        return {"outcome": "crashes", "detail": last[:300]}
    seconds = round(time.perf_counter() - started, 2)
    return {**json.loads(output.strip().splitlines()[-1]), "seconds": seconds}


def _prune(name: str, feeds_path: str, seed: int) -> dict[str, Any]:
    import torch
    import torch_pruning
    from safetensors.torch import load_file

    from support.architectures import random_model

    model = random_model(name, seed)
    feeds = load_file(feeds_path)
    # It asks every output for its gradient function, and a cache has none.
    flags = (
        {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    )
    before = sum(p.numel() for p in model.parameters())
    print("ready", flush=True)
    # Processor time: a busy machine is no fault of its.
    limit = math.ceil(time.process_time()) + LIMIT_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    pruner = torch_pruning.pruner.BasePruner(
        model,
        feeds,
        importance=torch_pruning.importance.GroupMagnitudeImportance(),
        pruning_ratio=1 - KEEP_RATE,
        ignored_layers=_ignored(model),
        forward_fn=lambda module, inputs: module(**inputs, **flags),
    )
    pruner.step()
    with torch.no_grad():
        model(**feeds, **flags)
    after = sum(p.numel() for p in model.parameters())
    outcome = "works" if after < before else "nothing cut"
    return {"outcome": outcome, "detail": f"{before - after} of {before} parameters cut"}


def _ignored(model: Any) -> list[Any]:
    """The head and the embeddings: their sizes are fixed from outside."""
    import torch

    heads = [model.get_output_embeddings(), getattr(model, "classifier", None)]
    embeddings = [m for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    return [m for m in heads if m is not None] + embeddings


def _main() -> int:
    import warnings

    warnings.simplefilter("ignore")
    try:
        result = _prune(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    except Exception as error:  # a crash of the peer is a result
        line = (str(error).strip().splitlines() or [""])[0]
        result = {"outcome": "crashes", "detail": f"{type(error).__name__}: {line}"[:300]}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    ROOT = Path(__file__).resolve().parents[3]
    sys.path[:0] = [str(ROOT / "tools" / "importroot"), str(ROOT / "tests")]
    raise SystemExit(_main())
