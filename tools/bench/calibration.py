r"""Calibrate one recipe on many texts and write what quality each leaves on other texts.

    python tools/bench/calibration.py --sources wiki.valid.raw wikipedia.jsonl self --every 1 8 \
        --texts wiki.test.raw tinystories.jsonl

Every source is calibrated on once for each --every (one window in so many; the model's own text,
``self``, only as it is). A text that is a source too is measured after all that is calibrated on.
What is in the JSON file already is not run again. A Markdown table goes beside it.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from quality_bench import rows
from shared.options import add_common_options
from shared.row import Row

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "importroot"))
RESULTS = ROOT / "tools" / "bench" / "results" / "calibration.json"


def main(arguments: list[str] | None = None) -> int:
    """Run the rows that are missing and write all files."""
    options = _parse(arguments)
    shared = import_module("shared.subject")
    bench = _Bench(options, shared.Subject(options))
    shared.fill(options, bench.rows, bench.protocol(), bench.run, _write)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_common_options(parser, RESULTS, 20)
    parser.add_argument("--sources", nargs="+", required=True, help="text file, .jsonl, or self")
    parser.add_argument("--every", type=int, nargs="+", default=[1], help="one window in so many")
    parser.add_argument("--texts", nargs="+", required=True, help="to measure on")
    recipes = sorted(rows.RECIPES)
    parser.add_argument("--recipe", choices=recipes, default="best-without-training")
    parser.add_argument("--keep", type=float, default=0.8)
    return parser.parse_args(arguments)


class _Bench:
    """The model, what it is calibrated on and what it is measured on."""

    def __init__(self, options: argparse.Namespace, subject: Any) -> None:
        self._options = options
        self._subject = subject
        self._specs = self._calibrations()
        self._texts = {
            Path(text).name: subject.read(self._held_out(text)) for text in options.texts
        }
        recipe = rows.recipe_row(options.recipe, options.keep)
        self._pipeline = recipe.pipeline
        cut = [Row(name, options.keep, recipe.pipeline) for name in self._specs]
        self.rows = [Row("dense", 1.0, ""), *cut]

    def _calibrations(self) -> dict[str, Any]:
        """What is calibrated on, by the name of its row."""
        found = {}
        for source in self._options.sources:
            for every in self._options.every:
                if source == "self":
                    found["the model's own text"] = self._spec(source, 1)
                else:
                    what = "the first windows" if every == 1 else f"one window in {every}"
                    found[f"{Path(source).name}, {what}"] = self._spec(source, every)
        return found

    def _spec(self, source: str, every: int) -> Any:
        spec = import_module("prunec.frontend.calibration").CalibrationSpec
        windows, seed = self._options.calibration_windows, self._options.seed
        return spec(source, windows, 512, every=every, seed=seed)

    def _held_out(self, text: str) -> Any:
        """Its windows after all that is calibrated on."""
        if text in self._options.sources:
            widest = self._spec(text, max(self._options.every))
            return widest.held_out(self._options.windows, 1024)
        spec = import_module("prunec.frontend.calibration").CalibrationSpec
        return spec(text, self._options.windows, 1024, seed=self._options.seed)

    def protocol(self) -> dict[str, Any]:
        """What holds for every row."""
        describe = import_module("shared.subject").describe_text
        return {
            **self._subject.protocol(),
            "texts": {name: describe(text) for name, text in self._texts.items()},
            "calibration_windows": self._options.calibration_windows,
            "pipeline": self._pipeline,
        }

    def run(self, row: Row, known: dict[str, Any] | None) -> dict[str, Any]:
        """Calibrate and prune as the row says and measure on every text, unless it is known."""
        if known is not None:
            return known
        shared = import_module("shared.subject")
        if row.name == "dense":
            pruned, facts = self._subject.dense, row.to_json()
        else:
            calibration = self._subject.read(self._specs[row.name])
            pruned, facts = self._subject.prune(row, calibration)
            facts["calibration"] = shared.describe_text(calibration)
        runner = import_module("prunec.backends.torch").TorchRunner(pruned)
        perplexity = import_module("prunec.backends.measure").perplexity
        found = {name: perplexity(runner, text.tokens) for name, text in self._texts.items()}
        return {
            **facts,
            "perplexities": {name: one.perplexity for name, one in found.items()},
            "nll_stderrs": {name: one.nll_stderr for name, one in found.items()},
        }


def _write(path: Path, document: dict[str, Any]) -> None:
    table = import_module("calibration_bench.table")
    import_module("shared.subject").write_texts(path, document, table.to_markdown(document))


if __name__ == "__main__":
    sys.exit(main())
