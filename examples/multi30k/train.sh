#!/usr/bin/env bash
# Trains one system by the protocol of Wu et al. 2021, which Peng et al. 2022 follow.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: train.sh DATA OUT SYSTEM [options of fairseq-train]

DATA    folder that prepare.sh made
OUT     folder for checkpoints, record (run.json), log and TensorBoard; training goes on from what is there
SYSTEM  one that ikd-systems lists. `text` is Transformer-Tiny, `ikd` IKD-MMT, which learns from images and
        translates without. `retrieval-*` need an index that ikd-build-image-index made in DATA

Environment: PROTOCOL (common; published: as the system's own authors trained it, see ikd-systems --protocol
differences), UPDATES (those of the protocol: 8000), SEED (1), BACKBONE (efficientnet_lite0, or another one).
SYSTEM_NAME (SYSTEM) is what tables call the run's system, if it is a variant; LABELS ("text=colour"), what else
tells it from others of a grid. Options after SYSTEM go to fairseq-train and win over those here; on a CPU think of
--kd-images-per-batch 8. The image size is that of DATA's packs.
TEXT
}

(($# >= 3)) || { usage >&2; exit 2; }
data=$1 out=$2 system=$3
shift 3
[[ -f $data/code ]] || { echo "train.sh: error: $data has no code (BPE merges): is it of prepare.sh?" >&2; exit 1; }

. "$(dirname "${BASH_SOURCE[0]}")/../set_up.sh"

labels=()
for label in ${LABELS:-}; do
  [[ $label == ?*=?* ]] || { echo "train.sh: error: LABELS=$LABELS: give NAME=VALUE, parted by spaces" >&2; exit 1; }
  labels+=(--label "$label")
done
images=$(ikd-systems "$system" --images)
read -rd '' -a options < <(ikd-systems "$system") || true
mapfile -t protocol < <(ikd-systems "$system" --protocol "${PROTOCOL:-common}")
((${#protocol[@]})) || exit 1 # ikd-systems has said why
if [[ $images == training || $images == test ]]; then
  manifest=$data/train.images.json
  [[ -f $manifest ]] || { echo "train.sh: error: $manifest is missing: prepare the images first" >&2; exit 1; }
  image_size=$(sed -n 's/.*"image_size": *\([0-9]*\).*/\1/p' "$manifest")
  options+=(--backbone "${BACKBONE:-efficientnet_lite0}" --image-size "$image_size")
fi

options+=($(ikd_cpu))

mkdir -p "$out"
if [[ -f $out/code ]]; then
  cmp -s "$data/code" "$out/code" ||
    { echo "train.sh: error: $out is of other BPE merges than those of $data: name another folder" >&2; exit 1; }
else
  cp "$data/code" "$out/code.partial"
  mv "$out/code.partial" "$out/code" # fairseq's hub looks for it there
fi

fairseq-train "$data" \
  --user-dir "$(ikd-fairseq-dir)" --task multimodal_translation \
  "${options[@]}" \
  "${protocol[@]}" ${UPDATES:+--max-update "$UPDATES"} \
  --save-dir "$out" --keep-last-epochs 10 \
  --seed "${SEED:-1}" --num-workers 2 \
  --log-format simple --log-interval 10 --tensorboard-logdir "$out/tensorboard" \
  "$@" 2>&1 | tee -a "$out/train.log"

ikd-record train "$out" --data "$data" --system "${SYSTEM_NAME:-$system}" --like "$system" ${labels[@]+"${labels[@]}"}
