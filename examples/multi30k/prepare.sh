#!/usr/bin/env bash
# From text and images to a data folder: joint BPE, binarised text, image packs.
# Every step is skipped when its output is complete, so an interrupted run goes on where it was.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: prepare.sh FOLDER OUT [--pair en-de] [--image-size 224] [--images DIR] [--merges 10000] [--workers N]
                  [--like DATA] [--keep TOKEN]

FOLDER  text/SPLIT.lc.norm.tok.LANGUAGE, image_splits/SPLIT.txt and images/, laid out as Multi30K is: SPLIT is
        train, val and one or more that begin with test. The text and lists of Multi30K are fetched into it
        if it has no text/.
OUT     data folder to make: binarised text and image packs for fairseq, `code` (the BPE merges),
        bpe/ (the text in subwords), reference/ (the target side of the test sets, for scoring)

--pair        source and target language
--image-size  pixels a side of the packed images
--images      folder of the images, if not FOLDER/images; images that are missing there are counted and left out
--merges      number of joint BPE merges
--workers     processes for binarising and packing (default: number of cores)

For text that `ikd-analyse degrade` made from other text:
--like        data folder prepared from the other text: its BPE merges, its dictionary and its packed images
              are taken over, so that nothing differs but the words that do
--keep        word that is never split into subwords, such as [U]; the dictionary gets it if need be
TEXT
}

fail() {
  echo "prepare.sh: error: $*" >&2
  exit 1
}

positional=()
pair=en-de image_size=224 images= merges=10000 workers=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
like= keep=
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --pair | --image-size | --images | --merges | --workers | --like | --keep)
      (($# >= 2)) || fail "$1 needs a value"
      name=${1#--}
      printf -v "${name//-/_}" %s "$2"
      shift 2
      ;;
    -*) fail "unknown option $1 (see --help)" ;;
    *) positional+=("$1"); shift ;;
  esac
done
((${#positional[@]} == 2)) || { usage >&2; exit 2; }
folder=${positional[0]} out=${positional[1]}
source=${pair%-*} target=${pair#*-}
[[ $pair == ?*-?* ]] || fail "--pair $pair: give source and target, such as en-de"
for number in "$image_size" "$merges" "$workers"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || fail "$number is not a whole number above 0 (--image-size, --merges, --workers)"
done
[[ -z $images || -d $images ]] || fail "--images $images is not a folder"
images=${images:-$folder/images}
[[ $keep != *[[:space:]]* ]] || fail "--keep '$keep' is not one word"
[[ -z $like || -f $like/train.$pair.$source.idx ]] || fail "--like $like holds no $pair that prepare.sh made"

. "$(dirname "${BASH_SOURCE[0]}")/../set_up.sh"
[[ -t 2 ]] || export TQDM_MININTERVAL=5 # bars of others: a line every five seconds in a log

step() { echo "prepare.sh: $*"; }

# ---- text ------------------------------------------------------------------------------------------------------

# A commit of the data set's repository, and what its files must be.
multi30k=multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a
checksums=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/multi30k.sha256

fetch_multi30k() {
  local base=https://raw.githubusercontent.com/$multi30k/data/task1 sum file there
  there=$folder/fetched.partial
  command -v curl >/dev/null || fail "$folder/text is missing, and there is no curl to fetch it with"
  mkdir -p "$there/tok" "$there/image_splits" "$folder/image_splits"
  step "fetching the text and image lists of Multi30K"
  while read -r sum file; do
    curl --fail --silent --show-error --location --proto =https --retry 3 --connect-timeout 20 \
      --output "$there/$file" "$base/$file" ||
      fail "$folder/text is missing and $base/$file cannot be fetched: put the text there yourself"
    python - "$there/$file" "$sum" <<'CODE' || fail "$base/$file is not the file that it was (its SHA-256 differs)"
import hashlib, sys
sys.exit(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest() != sys.argv[2])
CODE
  done <"$checksums"
  mv "$there/image_splits"/* "$folder/image_splits/"
  mv "$there/tok" "$folder/text"
  rmdir "$there/image_splits" "$there"
}

[[ -d $folder/text ]] || fetch_multi30k

# fairseq's name of a split -> the data set's: Multi30K's test sets in their order, then others by name.
splits=(train valid) names=(train val)
for file in "$folder"/text/{test,test_2016_flickr,test_2017_flickr,test_2017_mscoco,test*}".lc.norm.tok.$source"; do
  name=$(basename "$file" ".lc.norm.tok.$source")
  if [[ -f $file && " ${names[*]} " != *" $name "* ]]; then
    number=$((${#splits[@]} - 2))
    splits+=("test${number#0}") names+=("$name")
    step "test${number#0} is $name"
  fi
done
((${#splits[@]} > 2)) || fail "$folder/text holds no test set for $source (such as test.lc.norm.tok.$source)"

text() { echo "$folder/text/$1.lc.norm.tok.$2"; }
list() { echo "$folder/image_splits/$1.txt"; }
count() { grep -c '' "$1" || true; } # lines, the last one too if nothing ends it

files=()
for name in "${names[@]}"; do
  for language in "$source" "$target"; do
    [[ -s $(text "$name" "$language") ]] || fail "$(text "$name" "$language") is missing or empty"
    files+=("$(text "$name" "$language")")
  done
  lines=$(count "$(text "$name" "$source")") others=$(count "$(text "$name" "$target")")
  ((lines == others)) || fail "$(text "$name" "$source") has $lines lines, but $(text "$name" "$target") $others"
  if [[ -z $like && -d $images && -f $(list "$name") ]]; then
    others=$(count "$(list "$name")")
    ((lines == others)) || fail "$(list "$name") has $others lines, but $(text "$name" "$source") $lines"
  fi
done
problem=$(python - "${files[@]}" <<'CODE'
import sys
from ikd_fairseq.errors import IkdError, check
from ikd_fairseq.io.text_lines import numbered_lines
try:
    for file in sys.argv[1:]:
        for number, line in numbered_lines(file):
            # fairseq-preprocess would take it for the end of a line.
            check("\r" not in line, f"{file}, line {number}: a carriage return within the line; remove it")
except IkdError as error:
    print(error)
CODE
)
[[ -z $problem ]] || fail "$problem"

# Which splits have images.
pictured=()
if [[ -z $like && -d $images ]]; then
  found=$(python - "$images" "$folder/image_splits" "${names[@]}" <<'CODE'
import os, sys
from ikd_fairseq.data.image_packing import has_images
from ikd_fairseq.errors import IkdError
images, folder, *names = sys.argv[1:]
try:
    lists = {name: os.path.join(folder, f"{name}.txt") for name in names}
    print(*(name for name, path in lists.items() if os.path.isfile(path) and has_images(path, images)))
except IkdError as error:
    sys.exit(f"prepare.sh: error: {error}")
CODE
  ) || exit 1
  read -ra pictured <<<"$found"
  ((${#pictured[@]})) || fail "not one image that a list in $folder/image_splits names is in $images: give the folder" \
    "of the images by --images, or remove it to prepare the text alone"
fi

mkdir -p "$out/bpe" "$out/reference"
merges_of="$merges merges"
[[ -z $like ]] || merges_of="merges and dictionary $(cat "$like/code" "$like/dict.$source.txt" | cksum)"
made_from="$pair, $merges_of${keep:+, $keep kept}, text $(for name in "${names[@]}"; do
  cat "$(text "$name" "$source")" "$(text "$name" "$target")"
done | cksum)"
if [[ -f $out/made-from.txt && $(<"$out/made-from.txt") != "$made_from" ]]; then
  fail "$out was prepared from other text or with other options: delete it or choose another folder"
fi
echo "$made_from" >"$out/made-from.txt"
[[ ! -f $folder/degrade.json ]] || cp "$folder/degrade.json" "$out/" # what share of the words is masked

# ---- subwords --------------------------------------------------------------------------------------------------

if [[ ! -f $out/code ]]; then
  if [[ -n $like ]]; then
    cp "$like/code" "$out/code.partial"
  else
    step "learning $merges joint BPE merges"
    awk 1 "$(text train "$source")" "$(text train "$target")" |
      subword-nmt learn-bpe --symbols "$merges" --output "$out/code.partial"
  fi
  mv "$out/code.partial" "$out/code"
fi

kept=()
if [[ -n $keep ]]; then # as a regular expression for the whole word
  kept=(--glossaries "^$(sed 's/[][\\.^$*+?(){}|]/\\&/g' <<<"$keep")\$")
fi
for i in "${!splits[@]}"; do
  for language in "$source" "$target"; do
    subwords=$out/bpe/${splits[i]}.$language
    if [[ ! -f $subwords ]]; then
      step "splitting ${names[i]}.$language into subwords"
      subword-nmt apply-bpe --codes "$out/code" --input "$(text "${names[i]}" "$language")" \
        --output "$subwords.partial" ${kept[@]+"${kept[@]}"}
      mv "$subwords.partial" "$subwords"
    fi
  done
  if [[ ${splits[i]} == test* ]]; then
    cp "$(text "${names[i]}" "$target")" "$out/reference/${splits[i]}.$target"
  fi
done

# ---- binarised text --------------------------------------------------------------------------------------------

if [[ ! -f $out/binarised ]]; then
  step "binarising"
  rm -rf "$out/binarised.partial"
  words=()
  if [[ -n $like ]]; then
    cp "$like/dict.$source.txt" "$out/dictionary.partial"
    if [[ -n $keep ]] && ! grep -qxF -e "$keep" <(cut -d ' ' -f 1 "$out/dictionary.partial"); then
      echo "$keep 1" >>"$out/dictionary.partial" # the 1 stands for how often it occurs, which nothing here reads
    fi
    words=(--srcdict "$out/dictionary.partial")
  fi
  test_prefixes=("${splits[@]:2}")
  test_prefixes=("${test_prefixes[@]/#/$out/bpe/}")
  fairseq-preprocess \
    --source-lang "$source" --target-lang "$target" --joined-dictionary \
    --trainpref "$out/bpe/train" --validpref "$out/bpe/valid" \
    --testpref "$(IFS=,; echo "${test_prefixes[*]}")" \
    --destdir "$out/binarised.partial" --workers "$workers" ${words[@]+"${words[@]}"}
  mv "$out/binarised.partial"/* "$out/"
  rm -rf "$out/binarised.partial" "$out/dictionary.partial"
  touch "$out/binarised"
fi

# fairseq adds four symbols of its own to those in the file.
types=$(($(wc -l <"$out/dict.$source.txt") + 4))
step "dictionary: $types types"
if [[ -f $folder/text/test_2016_flickr.lc.norm.tok.$source && $merges == 10000 && -z $like$keep ]]; then
  case $pair in
    en-de | de-en) expected=9712 ;;
    en-fr | fr-en) expected=9544 ;;
    *) expected=$types ;;
  esac
  if ((types == expected)); then
    step "as it should be for Multi30K $pair"
  else
    echo "prepare.sh: WARNING: Multi30K $pair should give $expected types, so the text differs from that of the" \
      "papers (version, tokenisation, case?), and figures will not compare." >&2
  fi
fi

# ---- images ----------------------------------------------------------------------------------------------------

if [[ -n $like ]]; then
  step "linking the packs of $like"
  python -c 'import sys; from ikd_fairseq.distillation.distilled_folder import link_packs
link_packs(sys.argv[1], sys.argv[2], sys.argv[3:])' "$like" "$out" "${splits[@]}"
  step "done: $out"
  exit 0
fi
if [[ ! -d $images ]]; then
  step "no folder $images: every split is text only"
  exit 0
fi
for i in "${!splits[@]}"; do
  if [[ " ${pictured[*]} " == *" ${names[i]} "* ]]; then
    ikd-pack-images \
      --data "$out" --split "${splits[i]}" \
      --list "$(list "${names[i]}")" --images "$images" --allow-missing \
      --image-size "$image_size" --workers "$workers"
  else
    step "no images for ${names[i]}: text only"
  fi
done
step "done: $out"
