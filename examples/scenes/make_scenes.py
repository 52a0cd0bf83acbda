"""Makes a small data set for multimodal translation: drawn scenes with English and German captions.

The output folder is laid out as Multi30K is:

    text/{train,val,test}.lc.norm.tok.{en,de}    captions, lower-cased and tokenised, one a line
    image_splits/{train,val,test}.txt            image names, line i belongs to sentence i
    images/*.jpg                                 the pictures
    {train,val,test}.meta.jsonl                  what each scene holds, one JSON object a line
    scenes.json                                  the options that made the folder

A share of the sentences holds an English noun with two German translations (bat: fledermaus or schläger).
Both are equally likely whatever the rest of the sentence, and only the picture tells which one is meant.
No scene and no English sentence occurs twice, not even with the other sense of its ambiguous noun: a split
holds nothing of another.

The same options and the same Pillow give the same bytes. A run that was interrupted goes on where it was.
"""

import argparse
import json
import logging
import os
import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import scene_grammar as grammar
from scene_drawing import PlacedObject, draw_scene, lay_out
from scene_grammar import Group

from ikd_fairseq.cli.arguments import positive_int
from ikd_fairseq.errors import IkdError, check, command
from ikd_fairseq.io.atomic import replacing, write_atomically
from ikd_fairseq.io.manifests import read_record
from ikd_fairseq.io.progress import progress, set_up_logging

logger = logging.getLogger("make_scenes")

FORMAT = 1  # raise it when the same options would no longer make the same scenes
SPLITS = ("train", "val", "test")


class Scene(NamedTuple):
    """One picture and its two captions."""

    template: str
    groups: tuple[Group, ...]
    background: str
    place: str  # of a single group, otherwise ""
    relation: str  # between two groups, otherwise ""
    english: str
    german: str
    word: str | None  # the ambiguous English noun, if there is one
    sense: str | None  # its German translation here

    def keys(self) -> tuple:
        """What no other scene may share: its English, and its content but for the sense of a noun."""
        groups = tuple((grammar.NOUNS[group.kind].english, *group[1:]) for group in self.groups)
        return self.english, (groups, self.background, self.place, self.relation)


def _draw_group(rng: random.Random, ambiguous: bool, taken: str = "") -> Group:
    """A group of plain objects, or of one sense of an ambiguous noun."""
    plain = [noun for noun in grammar.PLAIN if noun.kind != taken]
    kind = rng.choice(rng.choice(grammar.AMBIGUOUS) if ambiguous else plain).kind
    colour = rng.choice(list(grammar.COLOURS))
    return Group(kind, colour, rng.choice(list(grammar.SIZES)), rng.choice((1, 1, 1, 2, 3, 4)))


def draw_one(rng: random.Random, ambiguous: bool) -> Scene:
    """A random scene; if *ambiguous*, exactly one of its nouns is."""
    template = rng.choice(list(grammar.TEMPLATES))
    background = rng.choice(list(grammar.BACKGROUNDS))
    first = _draw_group(rng, ambiguous)
    groups, place, relation, absent = (first,), "", "", first.kind
    if template in grammar.PLACED_TEMPLATES:
        place = rng.choice(list(grammar.PLACES))
        absent = rng.choice([noun.kind for noun in grammar.PLAIN if noun.kind != first.kind])
    else:
        second = _draw_group(rng, False, taken=first.kind)
        relation = rng.choice(list(grammar.RELATIONS))
        groups = (first, second) if rng.random() < 0.5 else (second, first)
    english, german = grammar.captions(template, groups, place or relation, background, absent)
    noun = grammar.NOUNS[first.kind]
    word, sense = (noun.english, noun.german) if ambiguous else (None, None)
    return Scene(template, groups, background, place, relation, english, german, word, sense)


def draw_splits(sizes: dict[str, int], ambiguous_share: float, seed: int) -> dict[str, list[Scene]]:
    """Scenes of every split: all different, in each split the same share ambiguous (to one sentence)."""
    rng = random.Random(seed)
    seen = set()
    splits = {}
    for split, size in sizes.items():
        ambiguous = [i < round(ambiguous_share * size) for i in range(size)]
        rng.shuffle(ambiguous)
        splits[split] = []
        for wanted in ambiguous:
            scene = draw_one(rng, wanted)
            while not seen.isdisjoint(scene.keys()):
                scene = draw_one(rng, wanted)
            seen.update(scene.keys())
            splits[split].append(scene)
    return splits


def make_scenes(
    output: Path, sizes: dict[str, int], ambiguous_share: float, image_size: int, seed: int
) -> None:
    """Writes the data set to *output*, which appears when it is complete.

    Raises:
        IkdError: *output* holds something else, or scenes made with other options.
    """
    scenery = {"ambiguous_share": ambiguous_share, "image_size": image_size, "seed": seed}
    options = {"format": FORMAT, "sizes": sizes, **scenery}
    if output.exists():
        _check_same_options(output, options)
        logger.info("%s is complete, nothing to do", output)
        return
    partial = output.with_name(output.name + ".partial")
    if partial.exists():
        _check_same_options(partial, options)
    for folder in ("images", "text", "image_splits"):
        (partial / folder).mkdir(parents=True, exist_ok=True)
    _write(partial / "scenes.json", [json.dumps(options)])

    splits = draw_splits(sizes, ambiguous_share, seed)
    for split, scenes in splits.items():
        names = [f"{split}_{i:05d}.jpg" for i in range(len(scenes))]
        entries = []
        for name, scene in progress(list(zip(names, scenes)), desc=f"drawing {split}", unit="image"):
            rng = random.Random(f"{seed} {name}")  # of its own, so that a restart draws the same picture
            placed = lay_out(scene.groups, scene.place, scene.relation, rng)
            entries.append(_metadata(name, scene, placed))
            if not (partial / "images" / name).exists():
                picture = draw_scene(placed, scene.background, image_size, rng)
                with replacing(partial / "images" / name) as unfinished:
                    picture.save(unfinished, format="JPEG", quality=92)
        _write(partial / "image_splits" / f"{split}.txt", names)
        _write(partial / "text" / f"{split}.lc.norm.tok.en", (scene.english for scene in scenes))
        _write(partial / "text" / f"{split}.lc.norm.tok.de", (scene.german for scene in scenes))
        _write(partial / f"{split}.meta.jsonl", entries)
    os.replace(partial, output)


def _metadata(name: str, scene: Scene, placed: Sequence[PlacedObject]) -> str:
    entry = {"image": name, "ambiguous": scene.word is not None}
    for key in ("word", "sense", "template", "background", "place", "relation"):
        entry[key] = getattr(scene, key)
    entry["groups"], entry["objects"] = (
        [item._asdict() for item in items] for items in (scene.groups, placed)
    )
    return json.dumps(entry, ensure_ascii=False)


def _check_same_options(folder: Path, options: dict) -> None:
    found = read_record(str(folder / "scenes.json"))
    check(found is not None, f"{folder} exists and holds no scenes: choose another --output.")
    check(found == options, f"{folder} was made with other options: delete it or choose another --output.")


def _write(path: Path, lines: Iterable[str]) -> None:
    with write_atomically(path, "w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(line + "\n" for line in lines)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, not {text}")
    return value


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Draws scenes and writes their English and German captions, laid out as Multi30K is.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder to make")
    add("--train", type=positive_int, default=3000, help="sentences to train on")
    add("--val", type=positive_int, default=200, help="sentences to validate on")
    add("--test", type=positive_int, default=400, help="sentences to test on")
    add("--ambiguous", type=_share, default=0.25, help="share of sentences that need the picture")
    add("--image-size", type=positive_int, default=224, help="pixels a side")
    add("--seed", type=int, default=1, help="other seeds give other scenes")
    return parser


@command
def main(argv=None) -> None:
    args = build_parser().parse_args(argv)
    set_up_logging()
    sizes = {split: getattr(args, split) for split in SPLITS}
    try:
        make_scenes(args.output, sizes, args.ambiguous, args.image_size, args.seed)
    except OSError as error:
        raise IkdError(f"cannot write the scenes: {error}.") from error


if __name__ == "__main__":
    sys.exit(main())
