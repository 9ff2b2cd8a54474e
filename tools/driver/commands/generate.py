"""``prunec generate``: what a model writes after a prompt, alone or beside another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prunec.driver.commands.evaluate import Against
from prunec.driver.commands.run import AsJson
from prunec.driver.terminal import open_terminal


def generate(
    artefact: Annotated[
        str,
        typer.Argument(help="A result or program folder, an ONNX file or folder, or a model."),
    ],
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="TEXT", help="What to continue.")
    ] = None,
    prompt_file: Annotated[
        Path | None,
        typer.Option("--prompt-file", metavar="FILE", help="Take the prompt from this text."),
    ] = None,
    new_tokens: Annotated[int, typer.Option(min=1, help="Tokens at most.")] = 128,
    temperature: Annotated[
        float, typer.Option(min=0, help="0 takes the likeliest token; above, tokens are drawn.")
    ] = 0.0,
    top_p: Annotated[
        float, typer.Option(min=0, max=1, help="Draw among the likeliest that make this share.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    chat: Annotated[
        bool, typer.Option("--chat", help="Put the prompt into the model's chat template.")
    ] = False,
    against: Against = None,
    as_json: AsJson = False,
) -> None:
    """Continue a prompt and show the text as it comes; with --against, in both models.

    Example: [bold]prunec generate prunec-out/demo --chat --prompt "Who was Ada Lovelace?"[/bold]
    """
    from prunec.backends.sampling import build_sampler
    from prunec.driver.artefact import open_artefact
    from prunec.driver.evaluation import require_same_vocabulary
    from prunec.driver.generating import Written, compare_tokens, write

    text = _require_prompt(prompt, prompt_file)
    build_sampler(temperature, top_p, seed)  # a bad setting costs no loading
    with open_terminal(as_json) as terminal:
        names = [name for name in (artefact, against) if name is not None]
        models = [open_artefact(name, terminal, needs_tokenizer=True) for name in names]
        require_same_vocabulary(models[0], models[-1])
        written: list[Written] = []
        for model in models:
            if against is not None:
                terminal.say(f"\n{model.reference}:")
            sampler = build_sampler(temperature, top_p, seed)
            found = write(
                model, text, terminal.write, new_tokens=new_tokens, choose=sampler, chat=chat
            )
            terminal.write("\n")
            terminal.say(str(found))
            written.append(found)
        document: dict[str, Any] = {"prompt": text, **written[0].to_json()}
        if against is not None:
            same = compare_tokens(*written)
            document |= {"against": written[1].to_json(), "agreement": same}
            terminal.say(_agreement(same))
        if as_json:
            terminal.deliver(document)


def _require_prompt(prompt: str | None, file: Path | None) -> str:
    """Before a model is loaded: what is to be continued?"""
    if (prompt is None) == (file is None):
        raise typer.BadParameter("give either --prompt TEXT or --prompt-file FILE")
    text = prompt if file is None else _read(file)
    if not text:
        raise typer.BadParameter("the prompt is empty: give at least one character")
    return text


def _read(file: Path) -> str:
    """The text of a file without its last line break, which an editor puts there."""
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{file} is not UTF-8 text: byte {error.start}") from error


def _agreement(same: dict[str, Any]) -> str:
    if same["first_divergence"] is None:
        return "Both wrote the same tokens."
    share = 100 * same["share"]
    first = same["first_divergence"]
    return f"The first {first} tokens are the same, and {share:.0f} % of all positions."
