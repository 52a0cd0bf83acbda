#!/usr/bin/env bash
# The main job on a data set that the project makes itself: drawn scenes, IKD-MMT trained on them, translation
# with every image moved away. A few minutes on two CPU cores. Run again, it skips what is complete.
#
# Environment: UPDATES (360, at least 90), SEED (1), SCENES_ARCH (ikd_transformer_tiny; also transformer_mmt_tiny, text
# only, and multimodal_transformer_tiny, which needs the images at test), SCENES_WORK (work/scenes in the checkout).
set -euo pipefail

here=$(CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
recipes=$here/../multi30k
. "$here/../set_up.sh"

updates=${UPDATES:-360} seed=${SEED:-1} arch=${SCENES_ARCH:-ikd_transformer_tiny}
work=${SCENES_WORK:-$here/../../work/scenes}
mkdir -p "$work"
work=$(cd "$work" && pwd)
scenes=$work/scenes-$seed data=$work/data-$seed run=$work/$arch-$seed-$updates
away=$work/moved-away-$seed
mkdir -p "$run"

step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

restore_images() {
  if [[ -d $away ]]; then
    if [[ -d $away/images ]]; then mv "$away/images" "$scenes/images"; fi
    find "$away" -name '*.images.*' -exec mv {} "$data/" \;
    rmdir "$away"
  fi
}
restore_images # a run that was killed may have left them away
trap restore_images EXIT

system=image-must options=()
case $arch in
  ikd_transformer*) system=ikd options=(--kd-images-per-batch 8) ;;
  transformer_mmt*) system=text ;;
esac

step "drawing scenes"
python "$here/make_scenes.py" --output "$scenes" --seed "$seed"

step "preparing text and images"
bash "$recipes/prepare.sh" "$scenes" "$data" --pair en-de --merges 500 --image-size 64

step "training $arch for $updates updates"
if [[ ! -f $run/trained ]]; then
  UPDATES=$updates SEED=$seed bash "$recipes/train.sh" "$data" "$run" "$system" --arch "$arch" \
    --lr 0.003 --warmup-updates 200 --max-tokens 2048 --update-freq 1 --patience -1 \
    --keep-last-epochs 3 --validate-interval 5 --num-workers 1 ${options[@]+"${options[@]}"}
  touch "$run/trained"
fi

step "averaging the last three checkpoints"
if [[ ! -f $run/average.pt ]]; then
  ikd-average-checkpoints --last 3 --output "$run/average.pt" "$run"
fi

use=()
if [[ $arch == multimodal_transformer* ]]; then
  step "translating the test set with its images"
  use=(--with-images)
else
  step "translating the test set, all images and packs moved away"
fi
if [[ ! -f $run/score.txt ]]; then
  if ((${#use[@]} == 0)); then
    mkdir "$away"
    mv "$scenes/images" "$data"/*.images.* "$away/"
    ls "$away"
  fi
  SAMPLES=10 bash "$recipes/translate.sh" "$data" "$run/average.pt" test ${use[@]+"${use[@]}"} |
    tee "$run/score.txt.partial"
  mv "$run/score.txt.partial" "$run/score.txt"
  restore_images
else
  cat "$run/score.txt"
fi

step "scoring sentences that need the picture, and those that do not"
# D-ID <tab> score <tab> translation, in any order
grep '^D-' "$run/generate-test.txt" | sed 's/^D-//' | sort -n | cut -f3 >"$run/test.hypotheses"
declare -A bleu
for ambiguous in true false; do
  for text in "$run/test.hypotheses" "$data/reference/test.de"; do
    awk -v wanted="\"ambiguous\": $ambiguous" 'NR == FNR { keep[FNR] = index($0, wanted); next } keep[FNR]' \
      "$scenes/test.meta.jsonl" "$text" >"$run/$(basename "$text").ambiguous-$ambiguous"
  done
  bleu[$ambiguous]=$(ikd-score --preset tokenised --metrics bleu \
    --hypotheses "$run/test.hypotheses.ambiguous-$ambiguous" \
    --references "$run/test.de.ambiguous-$ambiguous" | sed -n 's/^BLEU *//p')
done

cat <<TEXT

== done in $SECONDS s
BLEU, all 400 sentences      $(sed -n 's/^BLEU *//p' "$run/score.txt")
  picture needed             ${bleu[true]}
  text enough                ${bleu[false]}
checkpoint                   $run/average.pt
translations                 $run/generate-test.txt
training log                 $run/train.log
TEXT
