#!/usr/bin/env bash
# Run the smoke tests in a fresh environment: tools/versions.sh lowest|tested|newest
#   lowest  the lower end of every range in pyproject.toml
#   tested  the versions in constraints.txt, which are those of CI
#   newest  what the package index offers today within the ranges
# torch is $PRUNEC_TORCH, 2.13.0 where that is not set: a range would take a build for GPUs.
set -euo pipefail
lane=${1:-}
case "$lane" in
  lowest | tested | newest) ;;
  *) sed -n '2,6s/^# //p' "$0"; exit 2 ;;
esac
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python=$folder/venv/bin/python
case "$lane" in
  lowest) "$python" tools/lowest_versions.py >"$folder/constraints.txt" ;;
  tested) cp constraints.txt "$folder/constraints.txt" ;;
  newest) : >"$folder/constraints.txt" ;;
esac
sed -i '/^torch==/d' "$folder/constraints.txt"
echo "torch==${PRUNEC_TORCH:-2.13.0}" >>"$folder/constraints.txt"
"$python" -m pip install --quiet --no-warn-script-location -c "$folder/constraints.txt" -e '.[smoke]'
printf '== %s: ' "$lane"
"$python" -c 'from prunec.driver.machine import versions; print(*map(" ".join, versions().items()), sep=", ")'
# Warnings of libraries about their own future are errors in the tests of CI's versions alone.
"$python" -m pytest -x -m smoke -W default --override-ini addopts="--import-mode=importlib -ra -p no:logging"
