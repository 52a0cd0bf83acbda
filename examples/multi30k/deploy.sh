#!/usr/bin/env bash
# From any teacher to an int8 service: its translations, a text-only student trained on them, exports, scores.
# Every step is skipped when its output is complete, so an interrupted run goes on where it was.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: deploy.sh DATA TEACHER[:TEACHER...] OUT [--with-images] [--split test] [--arch transformer_mmt_nano]
                 [-- options of fairseq-train for the student]

DATA     folder that prepare.sh made
TEACHER  checkpoint that translates, of any system; several make an ensemble
OUT      folder for what is made: distilled/ (DATA with the teacher's translations), student/ (the run),
         model.pt, huggingface/, ctranslate2/, int8/, onnx/ (the student's), teacher-onnx/ (the teacher's, if it is
         one that sees no image), SPLIT/ (the translations), and stages.tsv: BLEU, size and speed of every stage

--with-images  the teacher looks at the packs of DATA; the student sees text alone
--split        the test set that every stage translates
--arch         of the student, a text-only one

Needs the extra `serving`: pip install "ikd-fairseq[serving]". Environment: UPDATES (those of the protocol: 8000), SEED
(1), LAST (10: checkpoints of the student that are averaged, or all if there are fewer), SHARDS (1: parts that the
teacher translates in).
The student's training takes nearly all of the time, on two processor cores hours; UPDATES=500 is for a try. An
interrupted run goes on where it was, by the same command; with another --split only that is translated and scored.
TEXT
}

fail() {
  echo "deploy.sh: error: $*" >&2
  exit 1
}

positional=() split=test arch=transformer_mmt_nano image_use=(--image-free)
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --with-images) image_use=(); shift ;;
    --split | --arch)
      (($# >= 2)) || fail "$1 needs a value"
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    --) shift; break ;;
    -*) fail "unknown option $1 (see --help; options of fairseq-train go behind --)" ;;
    *) positional+=("$1"); shift ;;
  esac
done
((${#positional[@]} == 3)) || { usage >&2; exit 2; }
data=${positional[0]} teacher=${positional[1]} out=${positional[2]}
[[ -f $data/code ]] || fail "$data has no code (BPE merges): is it of prepare.sh?"
IFS=: read -ra teachers <<<"$teacher"
for file in "${teachers[@]}"; do [[ -f $file ]] || fail "there is no checkpoint $file"; done

here=$(CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../set_up.sh"
for package in ctranslate2 transformers onnx onnxruntime; do
  python -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$package') is None)" ||
    fail "$package is missing: pip install 'ikd-fairseq[serving]'"
done
text=$data/bpe/$split reference=("$data/reference/$split".*)
[[ -f ${reference[0]} ]] || fail "$data/reference holds no $split"
target=${reference[0]##*.}
source=
for file in "$data/bpe/$split".*; do [[ ${file##*.} == "$target" ]] || source=${file##*.}; done
[[ -n $source && -f $text.$source ]] || fail "$text.LANGUAGE is missing: prepare the data again"

last=${LAST:-10}
[[ $last =~ ^[1-9][0-9]*$ ]] || fail "LAST=$last is no number of checkpoints"

step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

student=$out/student results=$out/$split
# Now, not after hours: the export would refuse any other.
[[ $arch =~ ^transformer_mmt_(tiny|nano)$ ]] ||
  fail "--arch $arch is no text-only architecture that can be exported: take transformer_mmt_nano or _tiny"
asked="--arch $arch UPDATES=${UPDATES:-} SEED=${SEED:-} LAST=${LAST:-}${*:+ -- $*}"
if [[ -f $student/asked ]]; then
  [[ $(<"$student/asked") == "$asked" ]] ||
    fail "$student was made with $(<"$student/asked"), and now $asked is asked for: give the same, or another OUT"
fi
mkdir -p "$out" "$results"

step "translating the training text with the teacher"
ikd-distil-data "$data" "$out/distilled" --teacher-path "$teacher" ${SHARDS:+--shards "$SHARDS"} \
  ${image_use[@]+"${image_use[@]}"} -- --max-tokens 4096

step "training the student, $arch"
mkdir -p "$student"
echo "$asked" >"$student/asked"
if [[ ! -f $student/trained ]]; then
  SYSTEM_NAME=$arch bash "$here/train.sh" "$out/distilled" "$student" text --arch "$arch" --keep-last-epochs "$last" "$@"
  touch "$student/trained"
fi
if [[ ! -f $student/average.pt ]]; then
  ikd-average-checkpoints --last "$last" --or-fewer --output "$student/average.pt" "$student"
fi

step "exporting"
model=$student/average.pt
[[ -f $out/model.pt ]] || ikd-export "$model" "$out/model.pt" --data "$out/distilled"
for format in huggingface ctranslate2 onnx; do
  [[ -d $out/$format ]] || ikd-export "$out/model.pt" "$out/$format" --format "$format"
done
[[ -d $out/int8 ]] || ikd-export "$out/model.pt" "$out/int8" --format ctranslate2 --quantization int8
if [[ ! -d $out/teacher-onnx && ${#teachers[@]} == 1 && ${#image_use[@]} == 1 ]]; then
  ikd-export "$teacher" "$out/teacher-onnx" --format onnx --data "$data" || echo "so there is no ONNX of the teacher"
fi

step "translating $split at every stage"
sed 's/@@ //g' "$text.$source" >"$results/source.$source" # in words, as what is scored
cpu=($(ikd_cpu))

# Usage: generate NAME DATA CHECKPOINT OPTIONS: by fairseq, into NAME.txt, with its speed in NAME.log.
generate() {
  local name=$1 folder=$2 checkpoint=$3
  shift 3
  [[ ! -f $results/$name.txt ]] || return 0
  echo "$name, by fairseq-generate; its output goes to $results/$name.log"
  fairseq-generate "$folder" --user-dir "$(ikd-fairseq-dir)" --task multimodal_translation --path "$checkpoint" \
    --gen-subset "$split" --beam 5 --batch-size 64 --remove-bpe ${cpu[@]+"${cpu[@]}"} "$@" >"$results/$name.log" 2>&1 ||
    { tail -5 "$results/$name.log" >&2; fail "fairseq-generate failed; see $results/$name.log"; }
  grep '^H-' "$results/$name.log" | sed 's/^H-//' | sort -n | cut -f 3 >"$results/$name.txt.partial"
  mv "$results/$name.txt.partial" "$results/$name.txt"
}

# Usage: serve NAME: by ikd-translate, on sentences in words, into NAME.txt, with its speed in NAME.log.
serve() {
  [[ ! -f $results/$1.txt ]] || return 0
  echo "$1, by ikd-translate"
  ikd-translate "$out/$1" "$results/source.$source" --tokenizer none --output "$results/$1.txt" \
    ${cpu[@]+"${cpu[@]}"} 2>"$results/$1.log" ||
    { tail -5 "$results/$1.log" >&2; fail "ikd-translate failed; see $results/$1.log"; }
}

megabytes() { find -L "$@" -type f -exec wc -c {} \; | awk '{ bytes += $1 } END { printf "%.2f", bytes / 1e6 }'; }

# Usage: row NAME FILES: a stage's BLEU, size of what it needs, and speed.
row() {
  local name=$1 bleu signature speed
  shift
  read -r bleu signature < <(ikd-score --preset tokenised --metrics bleu \
    --hypotheses "$results/$name.txt" --references "${reference[0]}" |
    sed -n 's/^BLEU *//p')
  speed=$(sed -n 's/.*[( ]\([0-9.,]*\) sentences\/s.*/\1/p' "$results/$name.log" | tail -1)
  printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$bleu" "$(megabytes "$@")" "${speed//,/}" "$signature" >>"$out/stages.tsv.partial"
}

generate teacher "$data" "$teacher" ${image_use[@]+"${image_use[@]}"}
generate student "$out/distilled" "$out/model.pt" --image-free
stages=(ctranslate2 int8 onnx)
[[ ! -d $out/teacher-onnx ]] || stages=(teacher-onnx "${stages[@]}")
for name in "${stages[@]}"; do serve "$name"; done

printf 'stage\tBLEU\tMB\tsentences/s\tsignature\n' >"$out/stages.tsv.partial"
row teacher "${teachers[@]}"
row student "$out/model.pt"
for name in "${stages[@]}"; do row "$name" "$out/$name"; done
mv "$out/stages.tsv.partial" "$out/stages.tsv"

step "done: BLEU of $split (tokenised, lower-case), beam 5, batch 64; speed as ikd-translate and fairseq-generate say"
column -t -s $'\t' "$out/stages.tsv" 2>/dev/null || cat "$out/stages.tsv"
echo
echo "a sentence in, a translation out: echo 'A man.' | ikd-translate $out/int8"
