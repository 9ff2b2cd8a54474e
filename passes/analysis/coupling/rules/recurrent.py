"""Recurrent layers: what they read may shrink, their own state is computed from all of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.rules.contraction import consume
from prunec.passes.analysis.coupling.site import Axes, Rule, Site, new_axes

aten = torch.ops.aten
_STATE = "a recurrent layer's gates and state are computed from all of it"


def relate_layers(site: Site) -> list[Axes]:
    """X [token, batch, in], states, weights of each layer and direction -> [token, batch, out]."""
    x = site.axes(site.argument("input"))
    weights: list[Node] = list(site.argument("params"))
    directions = 2 if site.argument("bidirectional") else 1
    each = len(weights) // (site.argument("num_layers") * directions)
    readers = [weights[each * place] for place in range(directions)]
    _consume_features(site, x[-1], readers)
    value = site.node.meta["val"]
    results = [new_axes(site.node, part) for part in value]
    for part in results:
        site.refuse(part[-1], _STATE)
    for axis in (axis for part in results[1:] for axis in part[:-1]):
        site.refuse(axis, "it counts layers or texts of a recurrent layer")
    return [(*x[:-1], results[0][-1]), *results[1:]]


def relate_cell(site: Site) -> list[Axes] | Axes:
    """X [batch, in], the state before -> the state after, [batch, hidden] each."""
    x = site.axes(site.argument("input"))
    _consume_features(site, x[-1], [site.argument("w_ih")])
    value = site.node.meta["val"]
    parts = [value] if isinstance(value, torch.Tensor) else value
    results: list[Axes] = [(*x[:-1], new_axes(site.node, part)[-1]) for part in parts]
    for part in results:
        site.refuse(part[-1], _STATE)
    return results[0] if isinstance(value, torch.Tensor) else results


def _consume_features(site: Site, features: Any, readers: Sequence[Node]) -> None:
    """The features end in the weights that read them; every other axis of a weight or state stays.

    Args:
        site: The layer.
        features: The last axis of its input.
        readers: Weights [gates × hidden, in], one for each direction.
    """
    for weight in readers:
        consume(site, features, site.axes(weight)[1])
        site.refuse(site.axes(weight)[0], _STATE)
    given = site.argument("input")
    for operand in site.node.all_input_nodes:
        if operand is not given and operand not in readers:
            for axis in site.axes(operand):
                site.refuse(axis, _STATE)


_LAYERS = (aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input)
_CELLS = (aten.lstm_cell, aten.gru_cell, aten.rnn_tanh_cell, aten.rnn_relu_cell)
RULES: dict[Any, Rule] = {
    **dict.fromkeys(_LAYERS, Rule(relate_layers)),
    **dict.fromkeys(_CELLS, Rule(relate_cell)),
}
