#!/usr/bin/env bash
# Word- and sequence-level knowledge distillation (Kim and Rush 2016): every row of a table like theirs.
# Each step is skipped when its output is complete, so an interrupted run goes on where it was.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: sequence_kd.sh DATA OUT --teacher A[:B] [options] [-- options of fairseq-train]

DATA       folder that prepare.sh made
OUT        folder for distilled data, a folder a run, and the table
--teacher  checkpoint that teaches, or several that do so together

--students "transformer_mmt_nano ikd_transformer_nano"  architectures of the students
--updates 1000       updates of every student that starts from scratch
--tune-updates 200   updates of every fine-tuning: Seq-Inter, and after pruning
--beam 5             beam of the teacher, and of the second column of scores
--top-k 8            words of the teacher's distribution that Word-KD keeps
--kd-images 0        images of a batch that an IKD student learns from in inversion distillation; 0: all
--average 3          epochs whose checkpoints are averaged
--shards 4           parts in which the teacher translates; what is finished is not repeated
--sparsities "20 40 60 80 90"   percent of weights pruned from the first student's Seq-KD + Seq-Inter; "" for none
--split test         test set of the table
TEXT
}

fail() {
  echo "sequence_kd.sh: error: $*" >&2
  exit 1
}

positional=()
teacher= students="transformer_mmt_nano ikd_transformer_nano" updates=1000 tune_updates=200 beam=5 top_k=8
kd_images=0 average=3 shards=4 sparsities="20 40 60 80 90" split=test
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --teacher | --students | --updates | --tune-updates | --beam | --top-k | --kd-images | --average | --shards | --sparsities | --split)
      (($# >= 2)) || fail "$1 needs a value"
      name=${1#--}
      printf -v "${name//-/_}" %s "$2"
      shift 2
      ;;
    --) shift; break ;;
    -*) fail "unknown option $1 (see --help)" ;;
    *) positional+=("$1"); shift ;;
  esac
done
((${#positional[@]} == 2)) && [[ -n $teacher ]] || { usage >&2; exit 2; }
data=${positional[0]} out=${positional[1]}
[[ $kd_images =~ ^[0-9]+$ ]] || fail "--kd-images $kd_images is not a whole number"
for number in "$updates" "$tune_updates" "$beam" "$top_k" "$average" "$shards"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || fail "$number is not a whole number above 0"
done
IFS=: read -ra teachers <<<"$teacher"
for checkpoint in "${teachers[@]}"; do
  [[ -f $checkpoint ]] || fail "there is no checkpoint $checkpoint (--teacher)"
done
[[ -f $data/code ]] || fail "$data is no folder that prepare.sh made"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../set_up.sh"
export PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore # torch and fairseq warn of each other at every start
mkdir -p "$out"
step() { echo "== sequence_kd.sh: $* ($(date +%T))"; }

# ---- what the teacher says -------------------------------------------------------------------------------------

step "the teacher translates the training set"
ikd-distil-data "$data" "$out/data-seq" --teacher-path "$teacher" --beam "$beam" --shards "$shards" --image-free \
  -- --max-tokens 4096
ikd-distil-data "$data" "$out/data-inter" --select closest --nbest "$beam" \
  --generate-output "$out"/data-seq/generated/shard-*.txt

cache=kim-rush
declare -A data_of=([gold]=$data [seq]=$out/data-seq [inter]=$out/data-inter)
for folder in "${data_of[@]}"; do
  if [[ ! -f $folder/train.teacher.$cache.json ]]; then
    step "the teacher's distributions over $folder"
    ikd-cache-teacher "$folder" --split train --teacher-path "$teacher" --top-k "$top_k" --name $cache
  fi
done

# ---- students --------------------------------------------------------------------------------------------------

# train RUN STUDENT DATA LOSS UPDATES OPTIONS...: a run from scratch, and the average of its last epochs
train() {
  run_training "$@"
  [[ -f $1/average.pt ]] || ikd-average-checkpoints --last "$average" --output "$1/average.pt" "$1"
}

run_training() {
  local run=$1 student=$2 folder=$3 loss=$4 count=$5 system=text options=()
  shift 5
  [[ -f $run/average.pt ]] && return
  step "training $run"
  if [[ $student == ikd_* && $loss == nll ]]; then
    system=ikd options+=(--kd-images-per-batch "$kd_images")
  elif [[ $student == ikd_* ]]; then # Word-KD takes the place of inversion distillation: no student CNN
    options+=(--no-student --backbone "${BACKBONE:-efficientnet_lite0}")
    options+=(--image-size "$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["image_size"])' \
      "$folder/train.images.json")")
  fi
  [[ $loss == word ]] && options+=(--criterion word_distillation --teacher-cache $cache --image-free)
  UPDATES=$count bash "$here/train.sh" "$folder" "$run" "$system" --arch "$student" \
    --update-freq 1 --warmup-updates 400 --keep-last-epochs "$average" "${options[@]}" "$@"
}

# tune RUN STUDENT FROM DATA LOSS OPTIONS...: goes on from another run's average, at a small constant rate. It may be
# over within an epoch, so the last checkpoint stands for it (average.pt is that one without its optimizer state).
tune() {
  local run=$1 student=$2 from=$3 folder=$4 loss=$5
  shift 5
  run_training "$run" "$student" "$folder" "$loss" "$tune_updates" --finetune-from-model "$from" \
    --lr 0.0005 --warmup-init-lr 0.0005 --warmup-updates "$tune_updates" "$@" # "warms up" from the rate to itself
  [[ -f $run/average.pt ]] || ikd-average-checkpoints --output "$run/average.pt" "$run/checkpoint_last.pt"
}

# translate RUN: the test set by greedy and by beam search
translate() {
  local run=$1 width
  for width in 1 "$beam"; do
    mkdir -p "$run/beam$width"
    [[ -f $run/beam$width/score-$split.json ]] && continue
    ln -f "$run/average.pt" "$run/beam$width/average.pt"
    bash "$here/translate.sh" "$data" "$run/beam$width/average.pt" "$split" --beam "$width"
  done
}

runs=()
for student in $students; do
  run=$out/$student
  train "$run-base" "$student" "$data" nll "$updates" "$@"
  train "$run-word" "$student" "$data" word "$updates" "$@"
  train "$run-seq" "$student" "$out/data-seq" nll "$updates" "$@"
  train "$run-seq+word" "$student" "$out/data-seq" word "$updates" "$@"
  tune "$run-control" "$student" "$run-base/average.pt" "$data" nll "$@" # what further training alone gives
  tune "$run-inter" "$student" "$run-base/average.pt" "$out/data-inter" nll "$@"
  tune "$run-word+inter" "$student" "$run-word/average.pt" "$out/data-inter" word "$@"
  tune "$run-seq+inter" "$student" "$run-seq/average.pt" "$out/data-inter" nll "$@"
  tune "$run-seq+inter+word" "$student" "$run-seq+word/average.pt" "$out/data-inter" word "$@"
  for method in base control word seq seq+word inter word+inter seq+inter seq+inter+word; do
    runs+=("$run-$method")
  done
done

# ---- pruning ---------------------------------------------------------------------------------------------------

student=${students%% *}
for percent in $sparsities; do
  run=$out/$student-pruned$percent
  mkdir -p "$run"
  if [[ ! -f $run/pruned.pt ]]; then
    ikd-prune "$out/$student-seq+inter/average.pt" "$run/pruned.pt" --sparsity "0.$percent"
  fi
  tune "$run" "$student" "$run/pruned.pt" "$out/data-inter" nll "$@"
  [[ -f $run/packed.pt ]] || ikd-prune "$run/average.pt" "$run/packed.pt" --pack
  runs+=("$run")
done

# ---- scores, speed, table --------------------------------------------------------------------------------------

run=$out/teacher
mkdir -p "$run"
if ((${#teachers[@]} == 1)); then
  [[ -f $run/average.pt ]] || cp "$teacher" "$run/average.pt"
  runs=("$run" "${runs[@]}")
fi
for run in "${runs[@]}"; do translate "$run"; done

# Speed is that of fairseq's own clock around the search, on a fifth of the batches (by what fairseq 0.12 goes by:
# it ignores --num-shards).
for run in "$out"/teacher $(printf "$out/%s-base " $students); do
  for width in 1 "$beam"; do
    for batch in 1 64; do
      log=$run/speed-beam$width-batch$batch.txt
      [[ -f $log || ! -f $run/average.pt ]] && continue
      step "timing $run, beam $width, batches of $batch"
      OMP_NUM_THREADS=${SPEED_THREADS:-1} fairseq-generate "$data" --user-dir "$(ikd-fairseq-dir)" \
        --task multimodal_translation --image-free --gen-subset "$split" --path "$run/average.pt" --cpu \
        --beam "$width" --batch-size "$batch" --distributed-world-size 5 --distributed-rank 0 >"$log.partial" 2>&1
      mv "$log.partial" "$log"
    done
  done
done

python "$here/distillation_table.py" "$out" --split "$split" --beam "$beam"
