import pytest
import torch

from prunec.backends.sampling import SamplingError, build_sampler, greedy

LOGITS = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()
DRAWS = 20_000
SPREAD = 0.015  # four standard errors of a share of 20,000 draws


def shares(**options: float) -> list[float]:
    tokens = build_sampler(**options)(LOGITS.expand(DRAWS, -1))  # type: ignore[arg-type]
    return (tokens.bincount(minlength=4) / DRAWS).tolist()


def test_temperature_0_is_greedy() -> None:
    assert build_sampler(0) is greedy
    assert greedy(torch.tensor([[1.0, 2.0, 2.0], [3.0, 0.0, 0.0]])).tolist() == [1, 0]


def test_tokens_are_drawn_by_their_probability() -> None:
    assert shares() == pytest.approx([0.5, 0.25, 0.125, 0.125], abs=SPREAD)


def test_a_low_temperature_makes_likely_tokens_likelier() -> None:
    assert shares(temperature=0.5) == pytest.approx(
        [8 / 11, 2 / 11, 0.5 / 11, 0.5 / 11], abs=SPREAD
    )


def test_the_nucleus_is_the_fewest_tokens_that_reach_top_p() -> None:
    assert shares(top_p=0.5) == [1, 0, 0, 0]
    assert shares(top_p=0.7) == pytest.approx([2 / 3, 1 / 3, 0, 0], abs=SPREAD)
    assert shares(top_p=1e-9) == [1, 0, 0, 0]


def test_the_same_seed_draws_the_same_tokens() -> None:
    rows = torch.zeros(50, 128)
    first, again, other = (build_sampler(seed=s)(rows).tolist() for s in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(SamplingError, match=message):
        build_sampler(**options)  # type: ignore[arg-type]
