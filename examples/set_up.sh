# Sourced by the entry scripts. Leaves an interpreter called `python` and the plugin's commands on PATH:
# those of the active interpreter if it has this checkout and all it needs, otherwise those of .venv in the
# checkout, which is made on the first call and kept until pyproject.toml changes. What the tests need beyond
# the recipes is looked for where IKD_SET_UP_FOR is "tests".

unset CDPATH # cd would print
# torch and fairseq warn of each other at every start.
[[ ${IKD_SET_UP_FOR-} ]] || export PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore

# Prints --cpu where PyTorch can use no GPU, and says so where there is one.
ikd_cpu() {
  PYTHONWARNINGS=default python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' && return
  if [[ ${CUDA_VISIBLE_DEVICES-all} ]] && command -v nvidia-smi >/dev/null; then
    echo "set_up.sh: warning: PyTorch cannot use the GPU that nvidia-smi stands for, and works on the processor: its" \
      "CUDA may be newer than the driver" >&2
  fi
  echo --cpu
}

ikd_fail() {
  echo "set_up.sh: $*" >&2
  return 1
}

# pip of $venv. What lies on PYTHONPATH is not installed, and with CUDA_HOME fairseq compiles kernels for CUDA, for
# which versions have to agree.
ikd_pip() {
  env -u PYTHONPATH -u PYTHONHOME -u CUDA_HOME "$venv/bin/python" -m pip "$@"
}

# Usage: ikd_install WHAT ARGUMENTS: pip install, with WHAT said at the start and while it lasts.
ikd_install() {
  local what=$1 heartbeat= quiet= status=0 start=$SECONDS
  shift
  echo "set_up.sh: $what"
  # In a log, pip says nothing while it downloads or compiles. A sleep outlives its loop, and shall hold no pipe open.
  if [[ ! -t 1 ]]; then
    quiet=--quiet
    while sleep 15 &>/dev/null; do echo "set_up.sh: waiting for $what, $((SECONDS - start)) s"; done 9<&- &
    heartbeat=$!
    trap 'kill "$heartbeat" 2>/dev/null' EXIT
  fi
  ikd_pip install --no-input $quiet "$@" </dev/null || status=$?
  if [[ -n $heartbeat ]]; then
    kill "$heartbeat" 2>/dev/null || true
    wait "$heartbeat" 2>/dev/null || true
    trap - EXIT
  fi
  ((status == 0)) || ikd_fail "pip could not install $what (its message is above); mend that and run again."
}

ikd_set_up() {
  local checkout venv active scripts
  ((BASH_VERSINFO[0] >= 4)) || ikd_fail "this is bash $BASH_VERSION, and 4 or later is needed." || return 1
  checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  venv=$checkout/.venv

  # -I: isolated from the current folder, so that only an installed plugin counts.
  if active=$(command -v python) &&
    scripts=$("$active" -I - "$checkout" ${IKD_SET_UP_FOR:-} 2>/dev/null <<'PYTHON'
import importlib.metadata, importlib.util, os, re, sys, sysconfig, tomllib

project = tomllib.load(open(os.path.join(sys.argv[1], "pyproject.toml"), "rb"))["project"]

def look_for(requirements):
    for requirement in requirements:
        name, extras = re.match(r"([\w.-]+)(?:\[(.+?)\])?", requirement).groups()
        importlib.metadata.version(name)  # raises where there is none
        for extra in (extras or "").split(",") if name == project["name"] else ():
            look_for(project["optional-dependencies"][extra])

look_for(project["dependencies"])
if sys.argv[2:] == ["tests"]:
    look_for(project["optional-dependencies"]["test"])
origin = importlib.util.find_spec("ikd_fairseq").origin
ours = os.path.realpath(os.path.join(sys.argv[1], "ikd_fairseq", "__init__.py")) == os.path.realpath(origin)
scripts = sysconfig.get_path("scripts")
if not (ours and os.path.exists(os.path.join(scripts, "ikd-fairseq-dir"))):
    sys.exit(1)
print(scripts)
PYTHON
    ); then
    [[ :$PATH: == *:$scripts:* ]] || export PATH=$scripts:$PATH
    return 0
  fi

  # One at a time: who waits finds the environment made. A lock on the folder leaves no file behind.
  {
    if command -v flock >/dev/null && ! flock -n 9; then
      echo "set_up.sh: waiting for another set-up in $checkout"
      flock 9
    fi
    ikd_make_environment
  } 9<"$checkout" || return 1
  export PATH=$venv/bin:$PATH
}

# Makes $venv in $checkout, unless it is there and whole.
ikd_make_environment() {
  local stamp=$venv/set-up-for key base began needed fairseq libraries include compiler compiled= clear=

  # Of this folder: a copied environment leads to the code that it was copied from.
  key="$(cksum <"$checkout/pyproject.toml") $checkout"
  if [[ -f $stamp && $(<"$stamp") == "$key" ]] && "$venv/bin/python" -c ''; then
    return 0
  fi

  for base in python3.11 python3 python python3.12 python3.13 ""; do
    "${base:-false}" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null &&
      break
  done
  [[ $base ]] ||
    ikd_fail "no Python of 3.11 to 3.13 with its venv module found; install one (e.g. python3.11-venv)." || return 1
  echo "set_up.sh: installing into $venv ($("$base" --version)); this is done once and takes some minutes"
  began=$SECONDS
  [[ ! -f $stamp || $(<"$stamp") == *" $checkout" ]] || clear=--clear
  "$base" -m venv $clear "$venv" || ikd_fail "$base cannot make a virtual environment in $venv." || return 1
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
  if ! ikd_pip download --quiet --no-deps --only-binary :all: --dest "$venv/wheels" "$fairseq" \
    >/dev/null 2>&1 </dev/null; then
    compiled=", which is compiled"
    include=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    for compiler in ${CXX:+"$CXX"} c++ g++ ""; do
      ${compiler:-false} -std=c++20 -fsyntax-only -I"$include" -x c++ - <<<'#include <Python.h>' 2>/dev/null && break
    done
    [[ $compiler ]] || ikd_fail "fairseq is compiled, which needs a compiler of C++20 and the headers of Python;" \
      "install them, e.g. g++ (10 or later) and python3-dev." || return 1
  fi
  mapfile -t libraries <<<"$libraries"
  ikd_install "1 of 3: PyTorch and NumPy, a download of about 5 GB" "${libraries[@]}" setuptools wheel cython ||
    return 1
  # Extensions one after the other: PyTorch's build writes the same build.ninja for each, where ninja is there.
  ikd_install "2 of 3: fairseq$compiled" --find-links "$venv/wheels" --no-build-isolation "$fairseq" || return 1
  (cd "$checkout" && ikd_install "3 of 3: the plugin and what else it needs" --editable ".[test]") || return 1
  { echo "$key" >"$stamp.partial" && mv "$stamp.partial" "$stamp"; } || return 1
  echo "set_up.sh: installed in $((SECONDS - began)) s"
}

ikd_set_up
