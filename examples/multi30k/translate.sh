#!/usr/bin/env bash
# Translates a split without any image, and scores it.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: translate.sh DATA CHECKPOINT SPLIT [--with-images] [options of fairseq-generate]

DATA         folder that prepare.sh made
CHECKPOINT   checkpoint to translate with, usually an average
SPLIT        test, test1, ... (Multi30K: test is test_2016_flickr, test1 test_2017_flickr, test2 test_2017_mscoco)
--with-images  for image-must systems, which look at DATA's packs

Writes generate-SPLIT.txt and its log beside CHECKPOINT, and the scores into the record there, run.json: of every
sentence, and of those that have an image. Further options of fairseq-generate are another search: its file is named after
them (generate-SPLIT.lenpen-0.6.txt), and no table shows its scores. Environment: BEAM (5; another one writes
generate-SPLIT.beamN.txt), BATCH (128) sentences at once, SAMPLES (0) translations to print, METEOR (1: score METEOR too,
where Java and its jar are there).
TEXT
}

(($# >= 3)) || { usage >&2; exit 2; }
data=$1 checkpoint=$2 split=$3 beam=${BEAM:-5}
shift 3
image_use=(--image-free) scored=()
if [[ ${1:-} == --with-images ]]; then
  image_use=() scored=(--with-images)
  shift
fi
[[ ${METEOR:-0} == 0 ]] || scored+=(--meteor)
[[ $beam =~ ^[1-9][0-9]*$ ]] || { echo "translate.sh: error: BEAM=$beam is no number of hypotheses" >&2; exit 1; }
[[ -f $checkpoint ]] || { echo "translate.sh: error: there is no checkpoint $checkpoint" >&2; exit 1; }

. "$(dirname "${BASH_SOURCE[0]}")/../set_up.sh"

image_use+=($(ikd_cpu))
run=$(dirname "$checkpoint") output=generate-$split search=$*
((beam == 5)) || output+=.beam$beam
if [[ $search ]]; then
  named=$(printf %s "$search" | tr -cs '[:alnum:]_.' - | sed 's/^-//; s/-$//')
  output+=.${named:0:150}
fi
{
  fairseq-generate "$data" \
    --user-dir "$(ikd-fairseq-dir)" --task multimodal_translation ${image_use[@]+"${image_use[@]}"} \
    --gen-subset "$split" --path "$checkpoint" \
    --beam "$beam" --remove-bpe --batch-size "${BATCH:-128}" \
    --log-format simple --log-interval 2 \
    "$@" | tee "$run/$output.partial" | { grep -vE --line-buffered '^[STHDP]-' || true; }
} 2>&1 | tee "$run/$output.log" # which has the speed
mv "$run/$output.partial" "$run/$output.txt"

ikd-record score "$run" --data "$data" --split "$split" --output "$output.txt" --checkpoint "$checkpoint" \
  --beam "$beam" --search="$search" --samples "${SAMPLES:-0}" ${scored[@]+"${scored[@]}"}
