"""The rows of the experts' table: which pipelines choose what decode reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quality_rows import Row

from prunec.passes.spec import parse_pipeline

_BY_ACTIVATION = "clean,score{criterion=wanda kinds=ffn-channel}"
PIPELINES = {
    "griffin": "clean,select-experts{keep=K}",
    "magnitude": "clean,select-experts{keep=K choice=magnitude}",
    "static": f"{_BY_ACTIVATION},select-experts{{keep=K choice=static}}",
    "static-rows": "clean,select-experts{keep=K core=1.0 column_norm=true}",
    "glass": "clean,select-experts{keep=K prior=0.5}",
    "glass-columns": "clean,select-experts{keep=K prior=0.5 column_norm=true}",
    "core": "clean,select-experts{keep=K core=0.5 column_norm=true}",
}
"""Pipelines by name; K stands for the share of the feed-forward units that decode reads.

Both static rows choose once by activations on calibration text times the norm of what they are
multiplied with: ``static`` by plain norms, ``static-rows`` by GRIFFIN's, each token scaled to 1.
"""


def rows(names: Sequence[str], keeps: Sequence[float]) -> Iterator[Row]:
    """The dense model, then every named pipeline at every share.

    Raises:
        ValueError: a name is not known.
    """
    unknown = [name for name in names if name not in PIPELINES]
    if unknown:
        raise ValueError(f"no rows {unknown}; there are {list(PIPELINES)}")
    yield Row("dense", 1.0, ())
    for keep in keeps:
        for name in names:
            yield Row(name, keep, parse_pipeline(PIPELINES[name].replace("K", f"{keep:g}")))
