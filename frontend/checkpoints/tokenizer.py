"""The tokenizer of a checkpoint, and whether the model knows every token of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prunec.frontend.checkpoints.facts import Facts
from prunec.frontend.checkpoints.findings import Finding, first_line, some
from prunec.frontend.checkpoints.own_code import needs_own_tokenizer
from prunec.frontend.tracing.quiet import quietly

_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def tokenizer_findings(
    facts: Facts, model: Any, needs_tokenizer: bool
) -> tuple[list[Finding], list[str]]:
    """A tokenizer that is missing, damaged, of its own code, or larger than the embedding.

    Args:
        facts: What was read of the folder.
        model: The model on the meta device; None where there is none.
        needs_tokenizer: Whether a folder without one is of no use.

    Returns:
        What is wrong, and notes.
    """
    if not any(facts.has(name) for name in _FILES):
        return ([_absent(facts.folder)] if needs_tokenizer else []), []
    own = needs_own_tokenizer(facts)
    if own:
        return own, []
    if facts.config is None:  # transformers reads it for the tokenizer, too
        return [], []
    try:
        tokenizer = load_tokenizer(facts.folder)
    except Exception as error:  # the loader raises anything from KeyError to RuntimeError
        there = f"the tokenizer cannot be loaded: {first_line(error)}"
        return [Finding(there, "Copy the tokenizer of the original model into the folder")], []
    rows = _embedding_rows(model)
    return ([], []) if rows is None else tokens_without_rows(tokenizer, rows)


def load_tokenizer(folder: Path | str, **options: Any) -> Any:
    """The tokenizer (transformers) in a folder; its own code is never run."""
    from transformers import AutoTokenizer

    with quietly():
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options)


def tokens_without_rows(tokenizer: Any, rows: int) -> tuple[list[Finding], list[str]]:
    """Tokens that text can become and that an embedding of so many rows lacks.

    A special token above the embedding that nothing uses is only noted: some models are published
    with one that is for their larger relatives.

    Returns:
        What is wrong, and notes.
    """
    above = {token: number for token, number in tokenizer.get_vocab().items() if number >= rows}
    if not above:
        return [], []
    last = max(above.values())
    examples = some(f"{token!r} = {number}" for token, number in above.items())
    there = (
        f"the tokenizer has tokens up to {last}, the model's embedding has {rows} rows (0 to "
        f"{rows - 1}): it lacks {len(above)} tokens ({examples})"
    )
    if set(above) <= _unused(tokenizer):
        return [], [f"{there}. Nothing puts these special tokens into a text; leave them out of it"]
    remedy = (
        "Use the tokenizer that the model was trained with; if tokens were added to it, give the "
        "checkpoint that was saved after model.resize_token_embeddings(len(tokenizer))"
    )
    return [Finding(there, remedy)], []


def _unused(tokenizer: Any) -> set[str]:
    """Special tokens that neither the tokenizer nor its chat template puts into a text."""
    named = set(map(str, tokenizer.special_tokens_map.values()))
    template = str(getattr(tokenizer, "chat_template", None) or "")
    special = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
    return {t.content for t in special if t.content not in named and t.content not in template}


def _embedding_rows(model: Any) -> int | None:
    """How many tokens a model knows; None where it takes none."""
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError):
        return None


def _absent(folder: Path) -> Finding:
    return Finding(
        "there is no tokenizer",
        f"Copy tokenizer.json and tokenizer_config.json of the model into {folder}",
    )
