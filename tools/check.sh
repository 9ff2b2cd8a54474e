#!/usr/bin/env bash
# Everything that must hold before a change lands: form, types, tests, and a wheel of prunec alone.
set -euo pipefail
cd "$(dirname "$0")/.."
ruff format --check .
ruff check .
mypy
python -m pytest -n auto --maxprocesses 8 --dist worksteal "$@"
wheel_folder=$(mktemp -d)
trap 'rm -rf "$wheel_folder" build' EXIT
python -m build --wheel --no-isolation --outdir "$wheel_folder" . >/dev/null
python - "$wheel_folder"/*.whl <<'PY'
import sys, zipfile
names = zipfile.ZipFile(sys.argv[1]).namelist()
strangers = [n for n in names if not n.startswith("prunec/") and ".dist-info/" not in n]
assert not strangers, f"the wheel would install {strangers[:5]}"
for wanted in ("prunec/passes/manager.py", "prunec/driver/main.py", "prunec/recipes/demo.toml", "prunec/py.typed"):
    assert wanted in names, f"the wheel lacks {wanted}"
print(f"wheel: {len(names)} files, all of them prunec's")
PY
