import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[3] / "tools" / "bench"
SCRIPTS = sorted(path.name for path in BENCH.glob("*.py"))


def test_beside_the_rooms_there_are_entry_points_alone() -> None:
    assert SCRIPTS == [
        "architectures.py",
        "calibration.py",
        "experts.py",
        "gpu.py",
        "mutations.py",
        "quality.py",
        "readers.py",
    ]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_gives_an_example_and_loads_no_torch(script: str) -> None:
    command = [sys.executable, "-X", "importtime", str(BENCH / script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"python tools/bench/{script} " in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "argparse" in loaded
    assert "torch" not in loaded
