#!/usr/bin/env bash
# Sets up what the tests need and runs them all. Arguments go to pytest: bash tests/run.sh -k grammar
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. examples/set_up.sh

export PYTHONUNBUFFERED=1
exec python -m pytest -q "$@"
