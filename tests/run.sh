#!/usr/bin/env bash
# Sets up what checks and tests need, then runs them all. Arguments go to pytest: bash tests/run.sh -k grammar
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
IKD_SET_UP_FOR=tests . examples/set_up.sh

ruff check --quiet
ruff format --check --quiet
lint-imports --no-logo # the order of rooms
mypy

export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
exec python -m pytest -q --numprocesses 2 --dist loadfile "$@"
