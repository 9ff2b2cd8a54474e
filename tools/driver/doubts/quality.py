"""Doubts about perplexity, divergence and agreement; a ground stands at every limit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from prunec.driver.doubts.contradiction import Contradiction, impossible, not_finite

_OWN_TEXT, _OWN_PART = 0.25, math.log(2)
"""Nats between a text's likelihood while it was written and now. The model and the tokens are the
same: what is left is rounding, and that documents of one window now see one another, hundredths of
a nat. Where only what follows a prompt is measured, other tokens are compared, and few of them."""
_GUESSING = 0.1
"""Nats below the logarithm of the vocabulary, the loss of one who knows nothing, that count as
knowing nothing."""
_HOPELESS = math.log(2)
"""Nats above it that no model with its own tokenizer and sound arithmetic reaches: it puts less
than half of a guess's chance on the text."""
_ERRORS = 3.0
"""Standard errors of the windows' paired differences that are no noise: one in 700."""
_BETTER = 0.01
"""Nats a token that rounding does not make, in bfloat16 either."""
_SAME_KL, _OTHER_NLL = 0.02, 0.2
"""With 0.02 nats of divergence a fifth of a nat more loss would need text that the dense model
itself finds all but impossible."""
_SAME_RANKING, _OTHER_SCALE = 0.98, math.log(1.5)
"""Where 98 of 100 likeliest tokens stay, pruning costs hundredths of a nat; half as much again in
perplexity says that the scale of the logits is another."""
_OTHER_KL, _SAME_NLL = 1.0, 0.05
"""A nat of divergence is another distribution; that both predict a text equally well is chance."""
_ROUNDING = 1e-3
"""Of divergences and losses that cannot be negative, in nats."""

_PRUNED = "other_perplexity"


def doubt_perplexity(
    found: Mapping[str, Any], name: str, key: str = "perplexity"
) -> Iterator[Contradiction]:
    """Doubts about one model's perplexity on a text.

    Args:
        found: A `Perplexity` or an `Agreement` as JSON.
        name: What to call the model.
        key: Where its perplexity stands.
    """
    perplexity, vocabulary = found[key], found.get("vocabulary")
    if not found["tokens"]:
        message = "no token was predicted: these numbers say nothing"
        yield Contradiction("nothing-measured", message, {"tokens": 0}, is_fatal=True)
    elif not _is_finite(perplexity):
        yield not_finite(f"the perplexity of {name}", key, perplexity)
    elif perplexity < 1 - _ROUNDING:
        yield impossible(f"the perplexity of {name}", key, perplexity)
    elif vocabulary and math.log(perplexity) > math.log(vocabulary) - _GUESSING:
        yield Contradiction(
            "no-better-than-guessing",
            f"the perplexity of {name} is {perplexity:.4g} and its vocabulary has {vocabulary} "
            "tokens: it predicts this text no better than a guess would. Is the text what the "
            "tokenizer is for, and is the checkpoint whole?",
            {key: perplexity, "vocabulary": vocabulary},
            # A cut may ruin a model and be carried out soundly.
            is_fatal=key != _PRUNED and math.log(perplexity) > math.log(vocabulary) + _HOPELESS,
        )


def doubt_agreement(found: Mapping[str, Any], dense: str, other: str) -> Iterator[Contradiction]:
    """Doubts about two models on one text.

    Args:
        found: An `Agreement` as JSON.
        dense: What to call the reference.
        other: What to call the other.
    """
    yield from doubt_perplexity(found, dense, "dense_perplexity")
    if not found["tokens"]:
        return
    yield from doubt_perplexity(found, other, _PRUNED)
    yield from _doubt_own_text(found, dense)
    lost = [key for key in ("kl_nats", "top1_agreement") if not _is_finite(found[key])]
    yield from (not_finite(f"{key} of {other} beside {dense}", key, found[key]) for key in lost)
    if not lost and all(map(_is_loss, (found["dense_perplexity"], found["other_perplexity"]))):
        yield from _doubt_difference(found, dense, other)


def _doubt_own_text(found: Mapping[str, Any], dense: str) -> Iterator[Contradiction]:
    """Whether the model that wrote the text finds it as likely as when it wrote it."""
    written, perplexity = found["text"].get("written"), found["dense_perplexity"]
    if not written or not _is_loss(perplexity):
        return
    share = written["known_share"]
    most = share * written["nll"] + (1 - share) * math.log(found["vocabulary"])
    most += _OWN_PART if found["prompt_tokens"] > 1 else _OWN_TEXT
    if math.log(perplexity) > most:
        then = math.exp(written["nll"])
        yield Contradiction(
            "absurd-on-its-own-text",
            f"{dense} wrote this text with a perplexity of {then:.4g}, and reading it has one of "
            f"{perplexity:.4g}: it does not read as it writes. Its cache, its mask or the stored "
            "text is wrong, and no other number here can be trusted",
            {"dense_perplexity": perplexity, "written_perplexity": then},
            is_fatal=True,
        )


def _doubt_difference(found: Mapping[str, Any], dense: str, other: str) -> Iterator[Contradiction]:
    kl, same = found["kl_nats"], found["top1_agreement"]
    pair = [found["dense_perplexity"], found["other_perplexity"]]
    difference, stderr = math.log(pair[1] / pair[0]), found.get("nll_difference_stderr")
    told = f"perplexity is {pair[0]:.4g} and {pair[1]:.4g}"
    if kl < -_ROUNDING:
        yield impossible("the KL divergence", "kl_nats", kl)
    if stderr is not None and difference < -max(_BETTER, _ERRORS * stderr):
        yield Contradiction(
            "better-than-dense",
            f"{other} predicts this text better than {dense}, by more than noise: {told}. Training "
            f"on such text can do that; cutting cannot, and then {dense} was measured wrongly",
            {"perplexity": pair, "nll_difference": difference, "nll_difference_stderr": stderr},
        )
    if kl <= _SAME_KL and abs(difference) >= _OTHER_NLL:
        yield _disagreeing(f"both models predict alike (KL {kl:.3g} nats), yet {told}", found)
    elif same >= _SAME_RANKING and abs(difference) >= _OTHER_SCALE:
        yield _disagreeing(
            f"both models find the same token likeliest {100 * same:.1f} % of the time, yet {told}:"
            " the scale of the logits seems to be another",
            found,
        )
    elif kl >= _OTHER_KL and abs(difference) <= _SAME_NLL:
        yield _disagreeing(
            f"both models predict otherwise (KL {kl:.3g} nats), yet their {told}", found
        )


def _disagreeing(message: str, found: Mapping[str, Any]) -> Contradiction:
    keys = ("kl_nats", "top1_agreement", "dense_perplexity", "other_perplexity")
    return Contradiction("figures-disagree", message, {key: found[key] for key in keys})


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _is_loss(perplexity: float | None) -> bool:
    """Whether it has a logarithm to compare."""
    return _is_finite(perplexity) and perplexity > 0
