#!/usr/bin/env bash
# Translates a split without any image, and scores it.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: translate.sh DATA CHECKPOINT SPLIT [--with-images] [options of fairseq-generate]

DATA         folder that prepare.sh made
CHECKPOINT   checkpoint to translate with, usually an average
SPLIT        test, test1, ... (Multi30K: test is test_2016_flickr, test1 test_2017_flickr, test2 test_2017_mscoco)
--with-images  for the image-must system, which looks at DATA's packs

Writes generate-SPLIT.txt and score-SPLIT.json beside CHECKPOINT.
TEXT
}

(($# >= 3)) || { usage >&2; exit 2; }
data=$1 checkpoint=$2 split=$3
shift 3
image_use=(--image-free)
if [[ ${1:-} == --with-images ]]; then
  image_use=()
  shift
fi
[[ -f $checkpoint ]] || { echo "translate.sh: error: there is no checkpoint $checkpoint" >&2; exit 1; }
references=("$data/reference/$split".*)
[[ -f ${references[0]} ]] || { echo "translate.sh: error: $data/reference has nothing for $split" >&2; exit 1; }

. "$(dirname "${BASH_SOURCE[0]}")/../set_up.sh"
export PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore # torch and fairseq warn of each other at every start

if ! python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  image_use+=(--cpu)
fi
output=$(dirname "$checkpoint")/generate-$split.txt
fairseq-generate "$data" \
  --user-dir "$(ikd-fairseq-dir)" --task multimodal_translation "${image_use[@]}" \
  --gen-subset "$split" --path "$checkpoint" \
  --beam 5 --remove-bpe --batch-size 128 \
  --log-format simple --log-interval 2 \
  "$@" | tee "$output.partial" | { grep -vE --line-buffered '^[STHDP]-' || true; }
mv "$output.partial" "$output"

ikd-score --generate-output "$output" --data "$data" --split "$split" --references "${references[0]}" \
  --preset tokenised --samples "${SAMPLES:-0}" --json "$(dirname "$checkpoint")/score-$split.json"
