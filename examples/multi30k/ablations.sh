#!/usr/bin/env bash
# Trains, averages, translates and scores a grid of systems and seeds, and ends in a table like Table 2 of
# Peng et al. 2022. Run again, it skips what is finished and goes on where it was.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: ablations.sh --data DATA --out RUNS [--systems "base l1 ..."] [--seeds "1 2 3"] [--updates 8000]
                    [--average 10] [--images-per-batch N] [--splits "test ..."] [--discard]
                    [-- options of fairseq-train]
       ablations.sh --list

--data     folder that prepare.sh made
--out      folder to fill: RUNS/SYSTEM-seedN with checkpoints, train.log, translations and scores for each run,
           and the table as ablations.md and ablations.tsv
--systems  which rows; --list says what each is (default: base l1 linf cosine kl block layer image-only no-iam
           no-irm no-kd)
--seeds    a run for each
--updates  at most so many updates a run
--average  translate with the mean of the last so many epochs
--images-per-batch  distil so many images of a batch, drawn at random (0: all, the default)
--splits   sets to translate (default: all test sets of DATA). `valid` gives the paper's Table 3
--discard  delete a run's checkpoints once they are averaged: a large student takes gigabytes

Options after -- go to fairseq-train for every run; those that make a system win over them. The seeds take turns:
every system is run with the first before any with the second. A run that fails is reported at the end, after
the others. BACKBONE names the CNN of all rows that name none, as for train.sh. torchvision downloads the weights
of its CNNs; without a network, put the files into ~/.cache/torch/hub/checkpoints.
TEXT
}

fail() {
  echo "ablations.sh: error: $*" >&2
  exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data= out= systems="base l1 linf cosine kl block layer image-only no-iam no-irm no-kd" seeds="1 2 3"
updates=8000 average=10 images_per_batch=0 splits= discard= list= further=()
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --list) list=1; shift ;;
    --discard) discard=1; shift ;;
    --data | --out | --systems | --seeds | --updates | --average | --images-per-batch | --splits)
      (($# >= 2)) || fail "$1 needs a value"
      name=${1#--}
      printf -v "${name//-/_}" %s "$2"
      shift 2
      ;;
    --) shift; further=("$@"); break ;;
    *) fail "unknown argument $1 (see --help; options of fairseq-train come after --)" ;;
  esac
done

. "$here/../set_up.sh"
if [[ -n $list ]]; then
  python "$here/ablations.py" --list
  exit
fi
[[ -n $data && -n $out ]] || { usage >&2; exit 2; }
[[ -f $data/code ]] || fail "--data $data is no folder that prepare.sh made"
read -ra systems <<<"$systems"
read -ra seeds <<<"$seeds"
((${#systems[@]} && ${#seeds[@]})) || fail "--systems and --seeds need at least one each"
for number in "$updates" "$average" "${seeds[@]}"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || fail "$number is not a whole number above 0 (--updates, --average, --seeds)"
done
[[ $images_per_batch =~ ^[0-9]+$ ]] || fail "--images-per-batch $images_per_batch: give a whole number, 0 for all"

# ---- what to score ---------------------------------------------------------------------------------------------

shopt -s nullglob
references=("$data"/reference/test*)
((${#references[@]})) || fail "$data/reference holds no test set: run prepare.sh again"
target=${references[0]##*.}
if [[ -z $splits ]]; then
  splits=("${references[@]##*/}")
  splits=("${splits[@]%.*}")
else
  read -ra splits <<<"$splits"
fi
for split in "${splits[@]}"; do
  if [[ ! -f $data/reference/$split.$target ]]; then # prepare.sh keeps the references of test sets alone
    [[ -f $data/bpe/$split.$target ]] || fail "--splits $split: $data has no such split"
    sed -E 's/@@( |$)//g' "$data/bpe/$split.$target" >"$data/reference/$split.$target.partial"
    mv "$data/reference/$split.$target.partial" "$data/reference/$split.$target"
  fi
done

# ---- what to run -----------------------------------------------------------------------------------------------

declare -A kinds options
for system in "${systems[@]}"; do
  described=$(python "$here/ablations.py" --system "$system")
  kinds[$system]=${described%% *} options[$system]=${described#* }
  if [[ ${kinds[$system]} == ikd ]]; then
    options[$system]="--kd-images-per-batch $images_per_batch ${options[$system]}"
  fi
  if [[ ${kinds[$system]} == image-must ]]; then
    for split in "${splits[@]}"; do
      [[ -f $data/$split.images.npy ]] ||
        fail "$system looks at images, and $data has none for $split: leave it out, or give --splits that have some"
    done
  fi
done

settings_of() { # of a system, all that a resumed run must share with the one before
  echo "updates $updates, average $average, backbone ${BACKBONE:-default}: ${further[*]-} ${options[$1]}"
}

for system in "${systems[@]}"; do
  for seed in "${seeds[@]}"; do
    settings=$out/$system-seed$seed/settings.txt
    if [[ -f $settings && $(<"$settings") != "$(settings_of "$system")" ]]; then
      fail "${settings%/*} was run with other options ($(<"$settings")): delete it or choose another --out"
    fi
  done
done

# ---- runs ------------------------------------------------------------------------------------------------------

step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

# Each part is skipped when its output is complete. Called where `set -e` is off, hence the && and ||.
train() { # system seed folder
  [[ -f $3/trained ]] && return
  step "run $number of $count, $1, seed $2: training"
  local added=()
  read -ra added <<<"${options[$1]}"
  UPDATES=$updates SEED=$2 bash "$here/train.sh" "$data" "$3" "${kinds[$1]}" \
    --keep-last-epochs "$average" ${further[@]+"${further[@]}"} ${added[@]+"${added[@]}"} &&
    touch "$3/trained"
}

average() { # system seed folder
  [[ -f $3/average.pt ]] && return
  step "run $number of $count, $1, seed $2: averaging $average epochs"
  ikd-average-checkpoints --last "$average" --output "$3/average.pt" "$3" 2>&1 | tee -a "$3/train.log"
}

translate() { # system seed folder
  local split use=()
  if [[ ${kinds[$1]} == image-must ]]; then use=(--with-images); fi
  for split in "${splits[@]}"; do
    [[ -f $3/score-$split.json ]] && continue
    step "run $number of $count, $1, seed $2: translating $split"
    bash "$here/translate.sh" "$data" "$3/average.pt" "$split" ${use[@]+"${use[@]}"} 2>&1 |
      tee -a "$3/train.log" || return
  done
}

trap 'exit 130' INT TERM # else a stopped run would count as a failed one, and the next begin
number=0 count=$((${#systems[@]} * ${#seeds[@]})) failed=()
for seed in "${seeds[@]}"; do
  for system in "${systems[@]}"; do
    number=$((number + 1)) run=$out/$system-seed$seed
    mkdir -p "$run"
    settings_of "$system" >"$run/settings.txt"
    if train "$system" "$seed" "$run" && average "$system" "$seed" "$run" && translate "$system" "$seed" "$run"; then
      if [[ -n $discard ]]; then rm -f "$run"/checkpoint*.pt; fi
    else
      failed+=("$system-seed$seed")
      echo "ablations.sh: $run failed; going on with the next" >&2
    fi
  done
done

step "table"
status=0
python "$here/ablations.py" "$out" --systems "${systems[*]}" --seeds "${seeds[*]}" --splits "${splits[*]}" || status=1
if ((${#failed[@]})); then
  fail "these runs failed, see the end of RUNS/RUN/train.log, mend that and run again: ${failed[*]}"
fi
exit "$status"
