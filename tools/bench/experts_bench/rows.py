"""The rows of the experts' table: which pipelines choose what decode reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.row import Row

_RATES = (
    "clean,score{criterion=obs-fisher kinds=ffn-channel},"
    "allocate{keep=B kinds=ffn-channel method=global standardise=none}"
)
_GLASS = "prior=0.5 column_norm=true"
_BY_ACTIVATION = "clean,score{criterion=wanda kinds=ffn-channel}"
PIPELINES = {
    "griffin": "clean,select-experts{keep=K}",
    "magnitude": "clean,select-experts{keep=K choice=magnitude}",
    "static": f"{_BY_ACTIVATION},select-experts{{keep=K choice=static}}",
    "static-rows": "clean,select-experts{keep=K core=1.0 column_norm=true}",
    "glass": "clean,select-experts{keep=K prior=0.5}",
    "glass-columns": "clean,select-experts{keep=K prior=0.5 column_norm=true}",
    "core": "clean,select-experts{keep=K core=0.5 column_norm=true}",
    "rates": f"{_RATES},select-experts{{rates=plan}}",
    "refit-by-text": "clean,select-experts{keep=K refit=calibration}",
    "refit": "clean,select-experts{keep=K refit=prompt}",
    "glass-refit": f"clean,select-experts{{keep=K {_GLASS} refit=prompt}}",
    "static-refit": f"{_BY_ACTIVATION},select-experts{{keep=K choice=static refit=calibration}}",
    "static-rates-refit": f"{_RATES},select-experts{{rates=plan choice=static refit=calibration}}",
    "rates-glass-refit": f"{_RATES},select-experts{{{_GLASS} rates=plan refit=prompt}}",
    "recipe": f"{_RATES},select-experts{{{_GLASS} rates=plan prior_by=scores refit=prompt}}",
    "recipe-low-rank": (
        f"{_RATES},select-experts{{{_GLASS} rates=plan prior_by=scores refit=prompt rank=128}}"
    ),
    "cut-first": (
        "score{criterion=obs-fisher},allocate{keep=0.8 method=global standardise=none},"
        "remove-structures,refit,clean,select-experts{keep=K refit=prompt}"
    ),
}
"""Pipelines by name; K stands for the share of the feed-forward units that decode reads, and B
for the share of the block parameters that stays where that share of the units does.

Both static rows choose once by activations on calibration text times the norm of what they are
multiplied with: ``static`` by plain norms, ``static-rows`` by GRIFFIN's, each token scaled to 1.
``cut-first`` removes a fifth of the block parameters for good and chooses among what is left.
"""


def rows(names: Sequence[str], keeps: Sequence[float], feed_forward: float) -> Iterator[Row]:
    """The dense model, then every named pipeline at every share.

    Args:
        names: Of pipelines.
        keeps: Shares of the feed-forward units.
        feed_forward: The share of the block parameters that carries these units.

    Raises:
        ValueError: a name is not known.
    """
    unknown = [name for name in names if name not in PIPELINES]
    if unknown:
        raise ValueError(f"no rows {unknown}; there are {list(PIPELINES)}")
    yield Row("dense", 1.0, "")
    for keep in keeps:
        block = 1 - (1 - keep) * feed_forward
        for name in names:
            spec = PIPELINES[name].replace("K", f"{keep:g}").replace("B", f"{block:.6f}")
            yield Row(name, keep, spec)
