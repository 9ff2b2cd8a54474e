import pytest

from support.gpu_cases import part


def test_bounds_are_quotients_of_what_a_step_reads() -> None:
    step_bytes = part("experts.bounds").StepBytes(dense=300, chosen=200, cache_per_token=10)
    assert step_bytes.bounds(past=9) == {
        "weights": 300 / 200,
        "weights_and_cache": 400 / 300,
        "weights_and_copied_cache": 600 / 500,
    }
    found = part("experts.bounds").reached(1.25, {"weights": 1.5})["weights"]
    assert found["share_of_bound"] == pytest.approx(1.25 / 1.5)
    assert found["share_of_saving"] == pytest.approx(0.2 / (1 / 3))


def test_the_bound_of_the_papers_larger_model_is_the_one_that_is_quoted() -> None:
    found = part("experts.bounds").paper_figures("llama-2-13b")
    assert pytest.approx(found["bound"]["weights"], abs=0.005) == 13.02 / 8.77
    for figures in (found, part("experts.bounds").paper_figures("gemma-7b")):
        long = figures["2048+2048"]
        assert long["dense_s"] / long["chosen_s"] == pytest.approx(long["speedup"], abs=0.001)
        assert long["speedup"] == pytest.approx(figures["speedup_of_abstract"], abs=0.01)
        assert "unverified" in figures["note"]
    assert part("experts.bounds").paper_figures("tiny") is None


def test_a_generation_adds_its_steps_up_along_the_past() -> None:
    bounds = part("experts.bounds")
    pasts = bounds.past_lengths(2048, 2048, 5)
    assert pasts[0] == 2048
    assert pasts[-1] == 2048 + 2048 - 2
    steps = [(past, 0.5 * past) for past in pasts]
    exact = sum(0.5 * past for past in range(2048, 2048 + 2047))
    assert bounds.generation_ms(7.0, steps, 2048, 2048) == pytest.approx(7.0 + exact)
    assert bounds.generation_ms(7.0, steps, 2048, 1) == 7.0
    with pytest.raises(ValueError, match="after 2048 to 5000 tokens are needed"):
        bounds.generation_ms(7.0, steps, 2048, 2954)
    assert bounds.past_lengths(16, 1, 5) == [16]
