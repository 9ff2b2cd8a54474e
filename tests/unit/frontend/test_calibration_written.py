from pathlib import Path
from typing import Any

import pytest
import torch

from prunec.backends.measure import perplexity
from prunec.backends.torch.runner import TorchRunner
from prunec.frontend.calibration import (
    Author,
    CalibrationError,
    CalibrationSpec,
    calibration_tokens,
)
from prunec.frontend.calibration.written import _OPENINGS
from prunec.passes.ir import Program
from support.models import small_program
from support.runners import BigramRunner, CharacterTokenizer, random_table

SPEC = CalibrationSpec(window_count=6, window_tokens=48)


def write(
    spec: CalibrationSpec = SPEC,
    runner: BigramRunner | None = None,
    cache: Path | None = None,
    weight: float = 0.0,
    **options: Any,
) -> torch.Tensor:
    runner = runner or BigramRunner(random_table())
    author = Author(runner.step, Program({}, {"w": torch.tensor([weight])}))
    return calibration_tokens(spec, CharacterTokenizer(), author, cache=cache, **options).tokens


def test_written_text_has_the_shape_that_was_asked_for_and_varies() -> None:
    tokens = write()
    assert tokens.shape == (6, 48)
    assert tokens.dtype == torch.int64
    assert len({tuple(row) for row in tokens.tolist()}) == 6


def test_documents_begin_with_an_opening_behind_the_special_tokens() -> None:
    for row in write().tolist():
        assert row[0] == 1
        assert CharacterTokenizer().decode(row[1:]).startswith(_OPENINGS)


def test_every_token_is_among_the_likeliest_after_the_one_before() -> None:
    table = random_table()
    likeliest = table.topk(50).indices
    row = write(runner=BigramRunner(table))[0].tolist()
    begin = 1 + max(map(len, _OPENINGS))
    for before, after in zip(row[begin:], row[begin + 1 :], strict=False):
        assert after in likeliest[before]


def test_the_same_seed_writes_the_same_and_another_writes_something_else() -> None:
    assert torch.equal(write(), write())
    other = CalibrationSpec(window_count=6, window_tokens=48, seed=1)
    assert not torch.equal(write(), write(other))


def test_a_window_does_not_depend_on_how_many_are_asked_for() -> None:
    many = write(CalibrationSpec(window_count=70, window_tokens=48))
    assert torch.equal(many[:6], write())
    part = write(CalibrationSpec(window_count=4, window_tokens=48, first_window=63))
    assert torch.equal(many[63:67], part)


@pytest.mark.parametrize("held_out_tokens", [None, 40, 56])
def test_held_out_text_shares_no_document_with_the_calibration(held_out_tokens: int | None) -> None:
    found = write()
    held_out = write(SPEC.held_out(6, held_out_tokens))
    length = min(found.shape[1], held_out.shape[1])
    both = {tuple(row[:length]) for row in [*found.tolist(), *held_out.tolist()]}
    assert len(both) == 12


def test_a_long_window_is_several_documents() -> None:
    tokens = write(CalibrationSpec(window_count=2, window_tokens=300))
    assert tokens.shape == (2, 300)
    assert tokens[:, ::100].tolist() == [[1, 1, 1]] * 2


def test_text_is_written_once_and_found_again(tmp_path: Path) -> None:
    first, second = BigramRunner(random_table()), BigramRunner(random_table())
    written = write(runner=first, cache=tmp_path)
    assert torch.equal(written, write(runner=second, cache=tmp_path))
    assert first.rows
    assert not second.rows


def test_another_model_or_seed_does_not_find_stored_text(tmp_path: Path) -> None:
    write(cache=tmp_path)
    other_model, other_seed = (BigramRunner(random_table()) for _ in range(2))
    write(runner=other_model, cache=tmp_path, weight=1.0)
    write(CalibrationSpec(window_count=6, window_tokens=48, seed=1), other_seed, tmp_path)
    assert other_model.rows
    assert other_seed.rows


def test_damaged_stored_text_is_written_again(tmp_path: Path) -> None:
    written = write(cache=tmp_path)
    (stored,) = (tmp_path / "written").iterdir()
    stored.write_bytes(stored.read_bytes()[:100])
    assert torch.equal(written, write(cache=tmp_path))


def test_an_interrupted_run_leaves_whole_batches_only(tmp_path: Path) -> None:
    def interrupt(items: Any, title: str, total: int) -> Any:
        for index, item in enumerate(items):
            if index == total * 3 // 8:  # within the second batch
                raise KeyboardInterrupt
            yield item

    spec = CalibrationSpec(window_count=128, window_tokens=48)
    with pytest.raises(KeyboardInterrupt):
        write(spec, cache=tmp_path, progress=interrupt)
    assert [p.name[-14:] for p in (tmp_path / "written").iterdir()] == ["-0.safetensors"]
    assert torch.equal(write(spec, cache=tmp_path), write(spec))


def test_progress_ends_at_its_total() -> None:
    seen = []

    def watch(items: Any, title: str, total: int) -> Any:
        for item in items:
            seen.append((item, total))
            yield item

    write(progress=watch)
    assert seen == [(i, 48) for i in range(48)]


@pytest.mark.parametrize("cached", [False, True])
def test_a_model_finds_its_text_as_likely_as_when_it_wrote_it(cached: bool, tmp_path: Path) -> None:
    program = small_program()
    runner = TorchRunner(program)
    for _ in range(1 + cached):
        found = calibration_tokens(
            SPEC, CharacterTokenizer(), Author(runner.step, program), cache=tmp_path
        )
    written = found.description["written"]
    assert written["known_share"] == 1
    assert perplexity(runner, found.tokens).nll == pytest.approx(written["nll"], abs=1e-5)


def test_of_each_document_in_a_window_the_first_token_is_nobodys() -> None:
    spec = CalibrationSpec(window_count=2, window_tokens=300)  # three documents each
    author = Author(BigramRunner(random_table()).step, Program({}, {}))
    written = calibration_tokens(spec, CharacterTokenizer(), author).description["written"]
    assert written["known_share"] == pytest.approx(1 - 2 / 299)


def test_of_openings_alone_the_likelihood_is_not_known() -> None:
    spec = CalibrationSpec(window_count=2, window_tokens=8)
    author = Author(BigramRunner(random_table()).step, Program({}, {}))
    found = calibration_tokens(spec, CharacterTokenizer(), author)
    assert found.tokens.shape == (2, 8)
    assert found.description["written"] == {"nll": 0.0, "known_share": 0.0}


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_model_whose_logits_are_not_finite_writes_nothing(value: float) -> None:
    author = Author(BigramRunner(torch.full((128, 128), value)).step, Program({}, {}))
    with pytest.raises(CalibrationError, match="what it predicts is not finite"):
        calibration_tokens(SPEC, CharacterTokenizer(), author)


def test_the_source_self_needs_a_model() -> None:
    with pytest.raises(CalibrationError, match="needs the model"):
        calibration_tokens(SPEC, CharacterTokenizer())


def test_a_traced_model_writes_text_it_finds_likely() -> None:
    program = small_program()
    runner = TorchRunner(program)
    found = calibration_tokens(
        CalibrationSpec(window_count=2, window_tokens=40),
        CharacterTokenizer(),
        Author(runner.step, program),
    )
    logits, _ = runner.step(found.tokens, torch.ones_like(found.tokens), None)
    begin = 1 + max(map(len, _OPENINGS))
    likeliest = logits[:, begin - 1 : -1].topk(50).indices
    assert (likeliest == found.tokens[:, begin:, None]).any(-1).all()
