"""``prunec demo``: the whole job on a small model that the package index carries."""

from __future__ import annotations

from prunec.driver.commands.run import AsJson, Output, Text, do_job


def demo(output: Output = None, text: Text = None, as_json: AsJson = False) -> None:
    """Prune a quarter of SmolLM2-135M-Instruct and build ONNX and a TensorRT engine.

    Needs no GPU, some minutes on two cores, and 2 GB of disk.

    Example: [bold]prunec demo --text my.txt[/bold]
    """
    do_job("demo", {"output.folder": output, "evaluate.text": text}, as_json)
