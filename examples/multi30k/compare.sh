#!/usr/bin/env bash
# Trains systems side by side by one protocol, translates the test sets, and makes a table of them all.
# Every step is skipped when its output is complete, so an interrupted run goes on where it was.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/systems.sh"

usage() {
  cat <<TEXT
usage: compare.sh --data DATA --out RUNS [options] [-- options of fairseq-train]

DATA  folder of prepared pairs (DATA/en-de, DATA/en-fr, each made by prepare.sh), or one prepared pair itself
RUNS  a folder a run, RUNS/PAIR/SYSTEM-seedN, with checkpoints, log, translations; and RUNS/table.{md,tsv}

--systems "..."       some of: $SYSTEMS
                      (default: all)
--seeds "1 2 3"       a run for each
--pairs "en-de"       language pairs
--updates 8000        updates of every run: the budget
--average 10          last epochs whose checkpoints are averaged, or all there are if training had fewer
--for SYSTEM OPTIONS  options of fairseq-train for one system; may be given several times
--stages "index runs table"  what to do; parts of the grid can run elsewhere, and the table come last

Options after -- go to fairseq-train for every system and win over those of train.sh. An update is 2 batches
of 4,096 tokens on one GPU or the CPU. fairseq-train uses every GPU that it sees, and each of them takes a
batch: halve --update-freq when you double them, to keep 8,192 tokens an update (2 GPUs: -- --update-freq 1;
4 GPUs: -- --update-freq 1 --max-tokens 2048). To give each GPU runs of its own instead, start the same
command once for each, with CUDA_VISIBLE_DEVICES: a run that one is at is left to it, and the last to end
makes the full table. SLURM: slurm/compare.sbatch.

Image-must systems are scored on the sentences that have an image, in test sets that have some.
Environment: BACKBONE (efficientnet_lite0), as for train.sh; LAUNCH, a command that starts training (srun),
and DISTRIBUTED, options of fairseq-train that say where it runs, not what.
TEXT
}

fail() {
  echo "compare.sh: error: $*" >&2
  exit 1
}

data= out= systems=$SYSTEMS seeds="1 2 3" pairs=en-de updates=8000 average=10 stages="index runs table"
declare -A own=() # SYSTEM -> its own options
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --data | --out | --systems | --seeds | --pairs | --updates | --average | --stages)
      (($# >= 2)) || fail "$1 needs a value"
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    --for)
      (($# >= 3)) || fail '--for needs a system and its options, such as --for ikd "--kd-images-per-batch 16"'
      describe_system "$2" || fail "--for $2: the systems are $SYSTEMS"
      own[$2]="${own[$2]:+${own[$2]} }$3"
      shift 3
      ;;
    --) shift; break ;;
    *) fail "unknown option $1 (see --help)" ;;
  esac
done
[[ -n $data && -n $out ]] || { usage >&2; exit 2; }
for list in systems seeds pairs stages; do
  [[ ${!list} == *[![:space:]]* ]] || fail "--$list is empty"
done
for number in "$updates" "$average"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || fail "$number is not a whole number above 0 (--updates, --average)"
done
for seed in $seeds; do
  [[ $seed =~ ^(0|[1-9][0-9]*)$ ]] || fail "seed $seed is not a whole number (--seeds)"
done
for stage in $stages; do
  [[ $stage =~ ^(index|runs|table)$ ]] || fail "--stages $stage: the stages are index, runs and table"
done
for system in $systems; do
  describe_system "$system" || fail "system $system is none of: $SYSTEMS"
done

# ---- what there is -----------------------------------------------------------------------------------------

. "$here/../set_up.sh"
export PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore # torch and fairseq warn of each other at every start
export BACKBONE=${BACKBONE:-efficientnet_lite0}
step() { echo "== compare.sh: $* ($(date +%T))"; }
wanted() { [[ " $stages " == *" $1 "* ]]; }

# lock FILE [--nonblock]: holds FILE until the next call, or the end of this process however it ends
lock() {
  exec 9>"$1"
  ! command -v flock >/dev/null || flock "${@:2}" 9 # macOS has none
}

declare -A folder_of=() tests_of=() made_from=() # by pair
for pair in $pairs; do
  folder=$data
  [[ -f $data/code ]] || folder=$data/$pair
  [[ -f $folder/train.$pair.${pair#*-}.idx ]] ||
    fail "$folder holds no $pair that prepare.sh made (--data, --pairs)"
  folder_of[$pair]=$folder
  pictured=
  for reference in "$folder"/reference/test*."${pair#*-}"; do # not valid, which ablations.sh may put there
    split=$(basename "$reference" ".${pair#*-}")
    tests_of[$pair]+=" $split"
    [[ ! -f $folder/$split.images.npy ]] || pictured+=" $split"
  done
  for system in $systems; do
    describe_system "$system"
    [[ $images == none || -f $folder/train.images.json ]] ||
      fail "$folder/train.images.json is missing, and $system needs images: prepare them, or leave it out"
    [[ $images != test || -n $pictured ]] ||
      fail "no test set in $folder has images, without which $system is not scored: leave it out"
  done
  made_from[$pair]=$(<"$folder/made-from.txt")
  if [[ -f $folder/train.images.json ]]; then
    made_from[$pair]+=$(python - "$folder/train.images.json" <<'PYTHON'
import json, sys

pack = json.load(open(sys.argv[1]))
print("; images of {image_size} px for {sentences_with_image} of {sentences} sentences".format(**pack))
PYTHON
    )
  fi
done

# ---- images of other sentences -----------------------------------------------------------------------------

if wanted index; then
  for pair in $pairs; do
    for system in $systems; do
      retriever=${system#retrieval-} index=${folder_of[$pair]}/image-index.${system#retrieval-}.pt
      describe_system "$system"
      [[ $images == index && ! -f $index ]] || continue
      lock "$index.lock"
      [[ ! -f $index ]] || continue # built by another meanwhile
      step "$retriever index of the images of $pair"
      device=cpu
      if python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then device=cuda; fi
      ikd-build-image-index --data "${folder_of[$pair]}" --retriever "$retriever" \
        --backbone "$BACKBONE" --device "$device"
    done
  done
fi

# ---- runs --------------------------------------------------------------------------------------------------

# settings PAIR SYSTEM OPTIONS...: what a run's figures depend on beside its seed, for comparison_table.py
settings() {
  local pair=$1 system=$2
  shift 2
  describe_system "$system"
  printf '%s: %s\n' images "$images" updates "$updates" "epochs averaged" "$average" CNN "$BACKBONE" \
    data "${made_from[$pair]}" options "$*" "own options" "${own[$system]:-}"
}

# train RUN PAIR SYSTEM SEED OPTIONS...
train() {
  local run=$1 pair=$2 system=$3 seed=$4 further=()
  shift 4
  read -ra further <<<"${own[$system]:-} ${DISTRIBUTED:-}"
  step "training $run"
  UPDATES=$updates SEED=$seed ${LAUNCH:-} bash "$here/train.sh" "${folder_of[$pair]}" "$run" "$system" \
    --keep-last-epochs "$average" "$@" ${further[@]+"${further[@]}"}
  touch "$run/trained"
}

# average_epochs RUN
average_epochs() {
  local run=$1 epochs
  epochs=$(find "$run" -name 'checkpoint[0-9]*.pt' | grep -cE '/checkpoint[0-9]+\.pt$' || true)
  ((epochs > 0)) || fail "training of $run ended within its first epoch: give more --updates"
  ikd-average-checkpoints --last "$((epochs < average ? epochs : average))" --output "$run/average.pt" "$run"
}

# translate RUN PAIR SYSTEM SPLIT: all of a test set; nothing where a system needs images and there are none
translate() {
  local run=$1 folder=${folder_of[$2]} system=$3 split=$4 use=()
  [[ ! -f $run/score-$split.json ]] || return 0
  describe_system "$system"
  if [[ $images == test ]]; then
    [[ -f $folder/$split.images.npy ]] || return 0
    use=(--with-images)
  fi
  step "translating $split by $run"
  bash "$here/translate.sh" "$folder" "$run/average.pt" "$split" ${use[@]+"${use[@]}"} 2>&1 |
    tee "$run/translate-$split.log"
}

if wanted runs; then
  for pair in $pairs; do # all are checked before the first begins
    for system in $systems; do
      for seed in $seeds; do
        run=$out/$pair/$system-seed$seed
        [[ ! -f $run/made-with.txt || $(<"$run/made-with.txt") == "$(settings "$pair" "$system" "$@")" ]] ||
          fail "$run was made with other settings (its made-with.txt): repeat them, or choose another --out"
      done
    done
  done
  for pair in $pairs; do
    for seed in $seeds; do
      for system in $systems; do
        run=$out/$pair/$system-seed$seed
        mkdir -p "$run"
        lock "$run/lock" --nonblock || { step "another is at $run, which is left to it"; continue; }
        settings "$pair" "$system" "$@" >"$run/made-with.txt.partial"
        mv "$run/made-with.txt.partial" "$run/made-with.txt"
        [[ -f $run/trained ]] || train "$run" "$pair" "$system" "$seed" "$@"
        [[ -f $run/average.pt ]] || average_epochs "$run"
        for split in ${tests_of[$pair]}; do translate "$run" "$pair" "$system" "$split"; done
      done
    done
  done
fi

# ---- table -------------------------------------------------------------------------------------------------

if wanted table; then
  folders=()
  for pair in $pairs; do folders+=("$pair=${folder_of[$pair]}"); done
  python "$here/comparison_table.py" "$out" "${folders[@]}"
fi
