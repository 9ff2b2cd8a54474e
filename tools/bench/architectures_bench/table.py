"""From the JSON of `architectures.py` to the Markdown tables that people read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

LAW_BAR = 1e-9
"""float64 rounding through a few layers; a wrong cut is off by more than 1e-3."""
ONNX_BAR = 1e-4
"""float32 kernels that add in another order, relative to the largest value."""

KINDS = (
    "ffn-channel",
    "kv-group",
    "head",
    "query-head-in-group",
    "qk-dim",
    "vo-dim",
    "residual",
    "expert",
    "expert-channel",
    "kv-latent",
    "query-latent",
    "conv-channel",
    "layer",
)

_HEAD = """# Coupled structures of many architectures

Tiny random models of transformers, {count} of them. Nothing in prunec knows any of them. Written by
`python tools/bench/architectures.py` (seed {seed}, {versions}).

- A cell: structures × units in each · the largest relative error between the cut program and the
  original with the removed units at zero, in float64 (the bar is {law_bar:.0e}). Each structure is
  cut to as few units as may be and to a random number. An asterisk: there each head or expert also
  kept its own units.
- *refused [n]*: axes of that kind are there and cannot be cut; the reason is number n below.
- *All at random*: {trials} cuts of all structures at once, layers dropped too.
- *ONNX Runtime*: against torch in float32 on a model with every structure cut, with earlier tokens
  in the cache where there is one (the bar is {onnx_bar:.0e}).

{total} structures were offered and cut {cuts} times; the largest error is {largest:.1e}.{failures}
"""

_PEER = """
## Beside Torch-Pruning

Torch-Pruning 1.6.1 without hints on the same models: `BasePruner` with `GroupMagnitudeImportance`,
`pruning_ratio=0.25`, head and embeddings ignored, one step, one forward, 40 s.
"""


def is_good(result: Mapping[str, Any]) -> bool:
    """Whether the trace, every cut and ONNX Runtime agreed."""
    if "failed" in result:
        return False
    checks = [*result["kinds"].values(), result["mixed"]]
    laws = all(c["failed"] == 0 and c["largest_error"] < LAW_BAR for c in checks)
    return laws and result["onnx"].get("largest_error", 1.0) < ONNX_BAR


def to_markdown(document: Mapping[str, Any]) -> str:
    """The tables: structures, the side-by-side, and the reasons."""
    found = {n: r["prunec"] for n, r in document["architectures"].items() if "prunec" in r}
    peers = {n: r.get("torch_pruning") for n, r in document["architectures"].items()}
    reasons = _reasons(found)
    lines = [_head(document, found), *_structure_table(found, reasons), ""]
    lines += [_PEER if any(peers.values()) else "", *_outcome_table(found, peers), ""]
    lines += ["## Refused, and why", "", *_reason_table(found, reasons)]
    return "\n".join(lines) + "\n"


def _head(document: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    good = [r for r in found.values() if "failed" not in r]
    checks = [c for r in good for c in (*r["kinds"].values(), r["mixed"])]
    failed = sorted(n for n, r in found.items() if not is_good(r))
    versions = document["machine"]["versions"]
    named = ("torch", "transformers", "onnxruntime", "onnxruntime-gpu")
    return _HEAD.format(
        count=len(found),
        seed=document["seed"],
        versions=", ".join(f"{n} {versions[n]}" for n in named if n in versions),
        law_bar=LAW_BAR,
        onnx_bar=ONNX_BAR,
        trials=max((r["mixed"]["trials"] for r in good), default=0),
        total=sum(k["structures"] for r in good for k in r["kinds"].values()),
        cuts=sum(c["trials"] for c in checks),
        largest=max((c["largest_error"] for c in checks), default=0.0),
        failures=f" Not as it should be: {', '.join(failed)}." if failed else "",
    )


def _reasons(found: Mapping[str, Any]) -> dict[str, int]:
    """Every reason with its number, most frequent first."""
    counts: dict[str, int] = {}
    for result in found.values():
        for row in result.get("refused", ()):
            counts[row["reason"]] = counts.get(row["reason"], 0) + row["axes"]
    ordered = sorted(counts, key=lambda reason: -counts[reason])
    return {reason: number for number, reason in enumerate(ordered, 1)}


def _structure_table(found: Mapping[str, Any], reasons: Mapping[str, int]) -> Iterator[str]:
    yield "| architecture | " + " | ".join(KINDS) + " |"
    yield "|---" * (len(KINDS) + 1) + "|"
    for name, result in found.items():
        if "failed" in result:
            yield f"| {name} | no trace: {_escaped(result['failed'])} " + "| " * len(KINDS) + "|"
            continue
        cells = [_cell(result, kind, reasons) for kind in KINDS]
        yield f"| {name} | " + " | ".join(cells) + " |"


def _cell(result: Mapping[str, Any], kind: str, reasons: Mapping[str, int]) -> str:
    parts = []
    if kind in result["kinds"]:
        row = result["kinds"][kind]
        star = "\\*" if row["units_apart_trials"] else ""
        parts.append(f"{row['structures']} × {_range(row['sizes'])}{star} · {_error(row)}")
    numbers = sorted({reasons[r["reason"]] for r in result["refused"] if r["kind"] == kind})
    if numbers:
        parts.append("refused " + " ".join(f"[{n}]" for n in numbers))
    return "<br>".join(parts)


def _outcome_table(found: Mapping[str, Any], peers: Mapping[str, Any]) -> Iterator[str]:
    has_peer = any(peers.values())
    titles = ["architecture", "model", "kinds offered", "axes refused", "all at random"]
    titles += ["ONNX Runtime", "s: trace, analysis, cuts, ONNX"]
    titles += ["Torch-Pruning"] if has_peer else []
    yield "| " + " | ".join(titles) + " |"
    yield "|---" * len(titles) + "|"
    for name, result in found.items():
        cells = [name, *_outcome(result)]
        if has_peer:
            cells.append(_peer(peers[name]))
        yield "| " + " | ".join(cells) + " |"


def _outcome(result: Mapping[str, Any]) -> list[str]:
    if "failed" in result:
        return ["", "none", "", "", "", ""]
    onnx = result["onnx"]
    agreement = _escaped(onnx["failed"]) if "failed" in onnx else f"{onnx['largest_error']:.0e}"
    cuts = sum(c["seconds"] for c in (*result["kinds"].values(), result["mixed"]))
    seconds = (result["trace_seconds"], result["analysis_seconds"], cuts, onnx.get("seconds", 0))
    return [
        result["model"],
        str(len(result["kinds"])),
        str(sum(row["axes"] for row in result["refused"])),
        _error(result["mixed"]),
        agreement,
        ", ".join(f"{s:.2f}" if s < 1 else f"{s:.0f}" for s in seconds),
    ]


def _peer(peer: Mapping[str, Any] | None) -> str:
    if peer is None:
        return ""
    return _escaped(peer.get("failed") or f"{peer['outcome']}: {peer['detail']}")


def _reason_table(found: Mapping[str, Any], reasons: Mapping[str, int]) -> Iterator[str]:
    yield "| | reason | architectures | axes | for example |"
    yield "|---" * 5 + "|"
    for reason, number in reasons.items():
        rows = [
            (name, row)
            for name, result in found.items()
            for row in result.get("refused", ())
            if row["reason"] == reason
        ]
        name, first = rows[0]
        place = f"`{first['weight']}` of {name}, by {first['node']}"
        place += f" ({first['source']})" if first["source"] else ""
        architectures = len({n for n, _ in rows})
        axes = sum(row["axes"] for _, row in rows)
        yield f"| {number} | {_escaped(reason)} | {architectures} | {axes} | {_escaped(place)} |"


def _error(row: Mapping[str, Any]) -> str:
    if row["failed"]:
        return f"{row['failed']} of {row['trials']} fail: {_escaped(row['first_failure'])}"
    return f"{row['largest_error']:.0e}" if row["largest_error"] else "0"


def _range(sizes: list[int]) -> str:
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
