"""Agreement of models that read texts whole, on outputs that are known."""

from __future__ import annotations

import math

import pytest
import torch

from prunec.backends.measure import PassWorkload, likeness, measure_passes, pass_ratio
from prunec.backends.whole_runner import Output

WINDOWS = torch.arange(12).reshape(3, 4)
CLASSES = Output("logits", ("batch_size", 2), True)
STATES = Output("last_hidden_state", ("batch_size", "sequence_length", 2), False)
SCORE = Output("logits", ("batch_size", 1), True)
PLACES = Output("start_logits", ("batch_size", "sequence_length"), True)


class Table:
    """A model that returns a row of a table for each text, or for each token."""

    name = "table"
    vocabulary = None

    def __init__(self, output: Output, table: torch.Tensor) -> None:
        self.outputs = (output,)
        self._table = table
        self.calls = 0

    def run(self, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        self.calls += 1
        rows = tokens if self.outputs[0] is STATES else tokens[:, 0] // 4
        return {self.outputs[0].name: self._table[rows]}


def test_classes_are_compared_as_distributions() -> None:
    even, sure = torch.zeros(3, 2), torch.tensor([[9.0, 0.0], [0.0, 0.1], [0.1, 0.0]])
    dense = sure.clone()
    (same,) = likeness(Table(CLASSES, dense), Table(CLASSES, sure), WINDOWS).outputs
    assert (same.kl_nats, same.top1_agreement, same.per) == (0, 1, "text")
    found = likeness(Table(CLASSES, dense), Table(CLASSES, even), WINDOWS)
    (other,) = found.outputs
    p = dense.double().softmax(-1)
    kl = (p * (p.log() - math.log(0.5))).sum(-1)
    assert other.kl_nats == pytest.approx(float(kl.mean()))
    assert other.top1_agreement == pytest.approx(2 / 3)
    assert other.relative_error is other.cosine is None
    assert found.to_json()["outputs"][0]["kl_nats"] == other.kl_nats


def test_hidden_states_are_compared_as_vectors() -> None:
    states = torch.randn(12, 2)
    turned = torch.stack([-states[:, 1], states[:, 0]], 1)
    (twice,) = likeness(Table(STATES, states), Table(STATES, 2 * states), WINDOWS).outputs
    assert twice.relative_error == pytest.approx(1)
    assert twice.cosine == pytest.approx(1)
    assert (twice.kl_nats, twice.per) == (None, "token")
    (across,) = likeness(Table(STATES, states), Table(STATES, turned), WINDOWS).outputs
    assert across.cosine == pytest.approx(0, abs=1e-6)
    assert across.relative_error == pytest.approx(2**0.5)


def test_a_single_number_is_correlated_over_texts() -> None:
    scores = torch.tensor([[1.0], [2.0], [4.0]])
    (found,) = likeness(Table(SCORE, scores), Table(SCORE, 7 - scores), WINDOWS).outputs
    assert found.correlation == pytest.approx(-1)
    assert found.kl_nats is found.cosine is None
    (flat,) = likeness(Table(SCORE, scores), Table(SCORE, 0 * scores), WINDOWS).outputs
    assert flat.correlation is None


def test_places_in_a_text_are_what_a_text_is_asked_for() -> None:
    places = torch.randn(3, 4)
    (found,) = likeness(Table(PLACES, places), Table(PLACES, places), WINDOWS).outputs
    assert (found.per, found.top1_agreement) == ("text", 1)


def test_other_outputs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logits.*last_hidden_state"):
        likeness(Table(CLASSES, torch.zeros(3, 2)), Table(STATES, torch.zeros(12, 2)), WINDOWS)


def test_two_models_are_timed_in_turn() -> None:
    models = [Table(CLASSES, torch.zeros(50, 2)) for _ in range(2)]
    found = measure_passes(models, PassWorkload(tokens=4, batch=2, repeats=3, warmup=1))
    assert [m.calls for m in models] == [4, 4]
    assert [len(one.pass_ms.values) for one in found] == [3, 3]
    first = found[0]
    assert first.tokens_per_second.values[0] == pytest.approx(8000 / first.pass_ms.values[0])
    assert pass_ratio(first, first).of_medians == 1
