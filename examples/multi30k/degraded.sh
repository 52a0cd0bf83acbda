#!/usr/bin/env bash
# Do images bring back what the source text lacks? Colours and entities are masked, and systems trained and
# tested on such text, as for Table 6 of Peng et al. 2022.
# Every step is skipped when its output is complete, so an interrupted run goes on where it was.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: degraded.sh --folder FOLDER --data DATA --out RUNS [--masks DIR] [options of compare.sh]
                   [-- options of fairseq-train]

--folder  text, image_splits and images, as prepare.sh takes them
--data    what prepare.sh made of FOLDER; merges, dictionary and packed images of the masked text are its own
--out     folder to fill: RUNS/text-KIND and RUNS/data-KIND for the masked text and what prepare.sh makes of
          it, RUNS/TEXT/PAIR/SYSTEM-seedN for the runs, and the table as degraded.md and degraded.tsv
          (KIND: colour, entity; TEXT: original too)
--masks   color.position, noun.position, nouns.position and people.position, the annotation of Multi30K
          (default: a list of colour words, and the nouns that spaCy finds; see ikd-analyse degrade --help)

Of the options of compare.sh, think of
--systems "text image-must ikd"  which systems (this is the default)
--seeds 1                        a run for each (this is the default)
--updates 8000, --average 10     budget of every run, and how many of its last epochs are averaged
--for ikd "--kd-images-per-batch 16"  options of one system

Words are masked in training and test alike. Everything but those words of the source is the same for the
three texts. An image-must system is scored on the sentences that have an image, in the test sets that have
some, and all others on them too. METEOR stands beside BLEU where there are Java and its jar (METEOR_JAR).
Environment: BACKBONE, LAUNCH and DISTRIBUTED, as for compare.sh.
TEXT
}

fail() {
  echo "degraded.sh: error: $*" >&2
  exit 1
}

MASK='[U]'
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder= data= out= masks= passed=(--systems "text image-must ikd" --seeds 1)
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --folder | --data | --out | --masks)
      (($# >= 2)) || fail "$1 needs a value"
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    --pairs | --stages) fail "$1 is not to choose here: the pair is that of --data, and all stages are run" ;;
    --) passed+=("$@"); break ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ -n $folder && -n $data && -n $out ]] || { usage >&2; exit 2; }
[[ -d $folder/text ]] || fail "--folder $folder has no text/ (see prepare.sh --help)"
[[ -f $data/code && -f $data/made-from.txt ]] || fail "--data $data is no folder that prepare.sh made"
pair=$(cut -d , -f 1 "$data/made-from.txt")
declare -A files=([colour]="color" [entity]="noun nouns people")
for name in ${masks:+${files[colour]} ${files[entity]}}; do
  [[ -f $masks/$name.position ]] || fail "--masks $masks has no $name.position"
done

. "$here/../set_up.sh"
export PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore # torch and fairseq warn of each other at every start
step() { echo "== degraded.sh: $* ($(date +%T))"; }

# compare STAGES DATA TEXT: its runs, with the options that were passed on
compare() {
  bash "$here/compare.sh" --data "$2" --out "$out/$3" --pairs "$pair" --stages "$1" "${passed[@]}"
}

# ---- text ------------------------------------------------------------------------------------------------------

made_with="original: $(<"$data/made-from.txt"); "
made_with+="masks: ${masks:+$(cat "$masks"/{color,noun,nouns,people}.position | cksum)}"
if [[ -f $out/made-with.txt && $(<"$out/made-with.txt") != "$made_with" ]]; then
  fail "$out was made from other text or masks: delete it or choose another --out"
fi
compare index "$data" original # refuses wrong options before anything is masked
mkdir -p "$out"
echo "$made_with" >"$out/made-with.txt"

declare -A data_of=([original]=$data)
for kind in colour entity; do
  if [[ ! -d $out/text-$kind ]]; then
    step "masking: $kind"
    positions=()
    for name in ${masks:+${files[$kind]}}; do positions+=("$masks/$name.position"); done
    ikd-analyse degrade --folder "$folder" --output "$out/text-$kind" --mask "$kind" --language "${pair%-*}" \
      --mask-token "$MASK" ${positions[@]+--positions "${positions[@]}"}
  fi
done
for kind in colour entity; do
  step "preparing: $kind"
  data_of[$kind]=$out/data-$kind
  bash "$here/prepare.sh" "$out/text-$kind" "${data_of[$kind]}" --pair "$pair" --like "$data" --keep "$MASK"
done

# ---- runs ------------------------------------------------------------------------------------------------------

for text in original colour entity; do
  step "runs: $text"
  compare "index runs" "${data_of[$text]}" "$text"
done

step "table"
python "$here/degraded.py" "$out" "$data" --pair "$pair"
