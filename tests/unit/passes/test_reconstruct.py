from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.contract import Context, Progress
from prunec.passes.ir import Program, cast, language_feeds
from prunec.passes.ir.staged import StagedRun
from prunec.passes.repair import Reconstruct, Refit, training
from prunec.passes.repair.finished import FinishedWindows
from prunec.passes.repair.windows import find_windows, last_window
from support.architectures import architecture_program
from support.cuts import TOKENS, cut
from support.models import small_program

PROGRAM = small_program(torch.float64)
NORM = "model.layers.1.post_attention_layernorm.weight"


def stream_error(program: Program, names: Sequence[str]) -> float:
    """The relative squared error of the streams after each branch, summed."""
    total = 0.0
    runs = [
        StagedRun(p, p.main, [language_feeds(p.main, TOKENS)], names) for p in (PROGRAM, program)
    ]
    for name in names:
        expected, found = (run.peek(run.advance(name, 0), 0) for run in runs)
        total += float(((found - expected).square().mean(-1) / expected.square().mean(-1)).mean())
    return total


@pytest.mark.parametrize("span", [1, 2])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt-neox", "falcon-new", "gemma2", "olmo2"])
def test_windows_compute_the_stream_from_the_stream(name: str, span: int) -> None:
    program = architecture_program(name)
    windows = find_windows(program, find_structures(program), span)
    assert len(windows) >= 2 // span
    targets = [n for w in windows for n in (w.nodes[0].name, w.result.name)]
    run = StagedRun(program, program.main, [language_feeds(program.main, TOKENS)], targets)
    for window in windows:
        run.advance(window.nodes[0].name, 0)
        found = window.run({n: run.read(n, 0) for n in window.given}, program.weights)
        expected = run.peek(run.advance(window.result.name, 0), 0)
        assert torch.equal(found, expected)
        assert window.own_weights()


@pytest.mark.parametrize("name", ["cohere", "stablelm-qk-norm"])
@pytest.mark.parametrize("span", [1, 2])
def test_branches_beside_each_other_are_trained_together(name: str, span: int) -> None:
    # Each layer is x + attention(norm(x)) + feed_forward(norm(x)).
    program = architecture_program(name)
    coupling = find_structures(program)
    windows = find_windows(program, coupling, span)
    trained = [n for w in windows for n in w.own_weights() if n not in program.buffers]
    inside = [n for n in program.parameters() if ".layers." in n]
    assert len(windows) == 2
    assert sorted(trained) == sorted(inside)
    last = last_window(program, coupling, span)
    assert last is not None
    assert last.nodes == windows[-1].nodes


@pytest.mark.parametrize("span", [1, 2])
def test_norms_behind_the_sums_are_trained_with_the_branches_before_them(span: int) -> None:
    program = architecture_program("bart-decoder")
    windows = find_windows(program, find_structures(program), span)
    trained = {n for w in windows for n in w.own_weights()}
    inside = {n for n in program.parameters() if ".layers." in n}
    assert len(windows) == 4 // span
    last = {n for n in inside if "layers.1.final_layer_norm" in n}
    assert inside - trained == last


def test_training_brings_the_stream_closer_after_every_branch() -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 48))
    refitted = Refit().apply(after, context)
    names = [w.result.name for w in find_windows(after, find_structures(after))]
    for precision in ("float32", "bfloat16"):
        repair = Reconstruct(epochs=20, learning_rate=1e-3, precision=precision)
        trained = repair.apply(refitted, context)
        assert stream_error(trained, names) < 0.8 * stream_error(refitted, names)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_is_trained_as_one_in_single_precision(
    dtype: torch.dtype,
) -> None:
    # Steps smaller than the spacing of bfloat16 numbers add up, also those of norms.
    half = cast(small_program(), dtype)
    gains = []
    for program in (half, cast(half, torch.float32)):
        after, context = cut(program, "ffn-channel", slice(0, 48))
        trained = Reconstruct(epochs=3, learning_rate=3e-4).apply(after, context)
        assert trained.weights[NORM].dtype == program.weights[NORM].dtype
        assert not torch.equal(trained.weights[NORM], after.weights[NORM])
        names = [w.result.name for w in find_windows(after, find_structures(after))]
        gains.append(stream_error(trained, names) / stream_error(after, names))
    assert gains[0] == pytest.approx(gains[1], abs=0.02)


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 48))
    first, again = (Reconstruct(epochs=2).apply(after, context) for _ in range(2))
    context.seed = 1
    other = Reconstruct(epochs=2).apply(after, context)
    assert all(torch.equal(first.weights[n], again.weights[n]) for n in first.weights)
    assert any(not torch.equal(first.weights[n], other.weights[n]) for n in first.weights)


def test_embeddings_and_shared_weights_stay() -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 48))
    trained = Reconstruct(epochs=1).apply(after, context)
    changed = {n for n, w in after.weights.items() if not torch.equal(w, trained.weights[n])}
    assert any("down_proj" in n for n in changed)
    assert any("q_proj" in n for n in changed)
    assert not any("embed" in n or n in after.buffers for n in changed)


def test_when_the_minutes_are_over_it_says_so_and_keeps_what_it_has() -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 48))
    notices: list[str] = []
    context.notice = notices.append
    Reconstruct(epochs=3, minutes=1e-6).apply(after, context)
    assert [n for n in notices if "2 of 2 windows were trained for fewer epochs" in n]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 48))
    whole = Reconstruct(epochs=2).apply(after, context)
    context.cache = tmp_path
    context.progress = stops_after(1)
    with pytest.raises(KeyboardInterrupt):
        Reconstruct(epochs=2).apply(after, context)
    (kept,) = tmp_path.rglob("*.safetensors")
    context.progress = Context().progress
    resumed = Reconstruct(epochs=2).apply(after, context)
    assert all(torch.equal(whole.weights[n], resumed.weights[n]) for n in whole.weights)
    assert not kept.exists()


def test_what_was_finished_with_other_options_or_text_is_not_used(tmp_path: Path) -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 48))
    context.cache = tmp_path
    context.progress = stops_after(1)
    with pytest.raises(KeyboardInterrupt):
        Reconstruct(epochs=2).apply(after, context)
    context.progress = Context().progress
    expected = {}
    for name, text in (("same", TOKENS), ("other", TOKENS.flip(0, 1))):
        context.calibration, context.cache = text, None
        expected[name] = Reconstruct(epochs=1).apply(after, context)
        context.cache = tmp_path
        found = Reconstruct(epochs=1).apply(after, context)
        assert all(torch.equal(expected[name].weights[n], w) for n, w in found.weights.items())


def test_windows_after_one_that_was_cut_short_are_neither_kept_nor_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 48))
    context.cache = tmp_path
    monkeypatch.setattr(FinishedWindows, "forget", lambda self: None)
    train = training.Training.train
    calls: list[Any] = []

    def first_is_cut_short(*given: Any) -> Any:
        calls.append(given)
        trained, is_whole = train(*given)
        return trained, is_whole and len(calls) != 1

    with monkeypatch.context() as patch:
        patch.setattr(training.Training, "train", first_is_cut_short)
        Reconstruct(epochs=1).apply(after, context)
    assert len(calls) == 2
    assert not list(tmp_path.rglob("*.safetensors"))
    Reconstruct(epochs=1).apply(after, context)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    calls.clear()
    next(tmp_path.rglob("0.safetensors")).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(training.Training, "train", first_is_cut_short)
        Reconstruct(epochs=1).apply(after, context)
    assert len(calls) == 2


def test_windows_of_another_span_are_not_taken_up(tmp_path: Path) -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 48))
    expected = Reconstruct(epochs=1, span=2).apply(after, context)
    context.cache = tmp_path
    context.progress = stops_after(1)
    with pytest.raises(KeyboardInterrupt):
        Reconstruct(epochs=1, span=1).apply(after, context)
    context.progress = Context().progress
    found = Reconstruct(epochs=1, span=2).apply(after, context)
    assert all(torch.equal(expected.weights[n], w) for n, w in found.weights.items())


def test_windows_of_a_processor_that_multiplies_otherwise_are_not_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 48))
    expected = Reconstruct(epochs=1, precision="float32").apply(after, context)
    context.cache = tmp_path
    context.progress = stops_after(1)
    monkeypatch.setattr(training, "_is_half_fast", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        Reconstruct(epochs=1).apply(after, context)
    context.progress = Context().progress
    monkeypatch.setattr(training, "_is_half_fast", lambda: False)
    found = Reconstruct(epochs=1).apply(after, context)
    assert all(torch.equal(expected.weights[n], w) for n, w in found.weights.items())


def stops_after(count: int) -> Progress[Any]:
    def progress(items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
        for place, item in enumerate(items):
            if place == count:
                raise KeyboardInterrupt
            yield item

    return progress
