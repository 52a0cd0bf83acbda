"""The drawn data set: German endings against a hand-written table, ambiguity, leaks, restart, same bytes."""

import hashlib
import json
import random
import sys
from collections import Counter
from pathlib import Path

import numpy
import pytest

SCENES = Path(__file__).resolve().parents[3] / "examples" / "scenes"
sys.path.insert(0, str(SCENES))

import make_scenes  # noqa: E402  the folder of the example is no package
import scene_drawing  # noqa: E402
import scene_grammar as grammar  # noqa: E402
from scene_grammar import Group  # noqa: E402


@pytest.mark.parametrize(
    "kind, nominative, accusative, dative",
    [
        # masculine, feminine, neuter, and a masculine noun that is declined itself
        ("ball", "ein kleiner roter ball", "einen kleinen roten ball", "einem kleinen roten ball"),
        ("cup", "eine kleine rote tasse", "eine kleine rote tasse", "einer kleinen roten tasse"),
        ("house", "ein kleines rotes haus", "ein kleines rotes haus", "einem kleinen roten haus"),
        (
            "letter_type",
            "ein kleiner roter buchstabe",
            "einen kleinen roten buchstaben",
            "einem kleinen roten buchstaben",
        ),
    ],
)
def test_one_object_with_indefinite_article(kind, nominative, accusative, dative):
    group = Group(kind, "red", "small", 1)
    assert grammar.german_phrase(group, grammar.NOMINATIVE) == nominative
    assert grammar.german_phrase(group, grammar.ACCUSATIVE) == accusative
    assert grammar.german_phrase(group, grammar.DATIVE) == dative


@pytest.mark.parametrize(
    "kind, nominative, accusative, dative",
    [
        ("ball", "der große blaue ball", "den großen blauen ball", "dem großen blauen ball"),
        ("cup", "die große blaue tasse", "die große blaue tasse", "der großen blauen tasse"),
        ("house", "das große blaue haus", "das große blaue haus", "dem großen blauen haus"),
        (
            "letter_type",
            "der große blaue buchstabe",
            "den großen blauen buchstaben",
            "dem großen blauen buchstaben",
        ),
    ],
)
def test_one_object_with_definite_article(kind, nominative, accusative, dative):
    group = Group(kind, "blue", "big", 1)
    assert grammar.german_phrase(group, grammar.NOMINATIVE, definite=True) == nominative
    assert grammar.german_phrase(group, grammar.ACCUSATIVE, definite=True) == accusative
    assert grammar.german_phrase(group, grammar.DATIVE, definite=True) == dative


@pytest.mark.parametrize(
    "kind, count, bare, bare_dative, definite, definite_dative",
    [
        ("ball", 2, "zwei rote bälle", "zwei roten bällen", "die zwei roten bälle", "den zwei roten bällen"),
        ("cup", 3, "drei rote tassen", "drei roten tassen", "die drei roten tassen", "den drei roten tassen"),
        ("car", 4, "vier rote autos", "vier roten autos", "die vier roten autos", "den vier roten autos"),
    ],
)
def test_several_objects(kind, count, bare, bare_dative, definite, definite_dative):
    group = Group(kind, "red", "medium", count)
    for case in (grammar.NOMINATIVE, grammar.ACCUSATIVE):
        assert grammar.german_phrase(group, case) == bare
        assert grammar.german_phrase(group, case, definite=True) == definite
    assert grammar.german_phrase(group, grammar.DATIVE) == bare_dative
    assert grammar.german_phrase(group, grammar.DATIVE, definite=True) == definite_dative


BAT = Group("bat_animal", "black", "medium", 1)
TREE = Group("tree", "green", "big", 2)
CAPTIONS = {
    "placed": (
        "a black bat on the left at night .",
        "eine schwarze fledermaus links bei nacht .",
    ),
    "shows": (
        "the picture shows a black bat on the left at night .",
        "das bild zeigt eine schwarze fledermaus links bei nacht .",
    ),
    "is_placed": (
        "the black bat is on the left at night .",
        "die schwarze fledermaus ist links bei nacht .",
    ),
    "without": (
        "a dark night with a black bat on the left , but without a ball .",
        "eine dunkle nacht mit einer schwarzen fledermaus links , aber ohne einen ball .",
    ),
    "related": (
        "a black bat behind two big green trees at night .",
        "eine schwarze fledermaus hinter zwei großen grünen bäumen bei nacht .",
    ),
    "shows_related": (
        "you can see a black bat behind two big green trees at night .",
        "man sieht eine schwarze fledermaus hinter zwei großen grünen bäumen bei nacht .",
    ),
    "is_related": (
        "the black bat is behind the two big green trees .",
        "die schwarze fledermaus ist hinter den zwei großen grünen bäumen .",
    ),
    "with_both": (
        "a dark night with a black bat and two big green trees .",
        "eine dunkle nacht mit einer schwarzen fledermaus und zwei großen grünen bäumen .",
    ),
    "both": (
        "a black bat and two big green trees at night .",
        "eine schwarze fledermaus und zwei große grüne bäume bei nacht .",
    ),
}


def test_every_template_says_what_it_should():
    made = {}
    for template in grammar.TEMPLATES:
        groups = (BAT,) if template in grammar.PLACED_TEMPLATES else (BAT, TREE)
        where = "left" if template in grammar.PLACED_TEMPLATES else "behind"
        made[template] = grammar.captions(template, groups, where, "night", absent="ball")
    assert made == CAPTIONS


def test_senses_of_a_noun_share_their_english_and_nothing_else():
    for first, second in grammar.AMBIGUOUS:
        assert (first.english, first.english_plural) == (second.english, second.english_plural)
        assert first.german != second.german and first.german_plural != second.german_plural


def test_every_kind_can_be_drawn_and_only_those():
    assert set(scene_drawing.SKETCHES) == set(grammar.NOUNS)


@pytest.mark.parametrize("pair", grammar.AMBIGUOUS, ids=lambda pair: pair[0].english)
def test_senses_of_a_noun_look_different_even_in_a_small_picture(pair):
    pictures = []
    for noun in pair:
        placed = scene_drawing.lay_out([Group(noun.kind, "red", "medium", 1)], "middle", "", random.Random(1))
        picture = scene_drawing.draw_scene(placed, "sky", 64, random.Random(1))
        pictures.append(numpy.asarray(picture, dtype=float))
    moved = numpy.abs(pictures[0] - pictures[1]).max(axis=2) > 40
    object_area = (64 * scene_drawing.SIDES["medium"]) ** 2
    assert moved.sum() > 0.15 * object_area


def test_objects_stay_inside_the_picture_and_stand_as_the_relation_says():
    rng = random.Random(3)
    for relation in grammar.RELATIONS:
        for count in (1, 2, 3, 4):
            first, second = Group("ball", "red", "big", count), Group("cup", "blue", "big", 4)
            placed = scene_drawing.lay_out([first, second], "", relation, rng)
            for item in placed:
                assert 0 <= item.left and item.left + item.side <= 1
                assert 0 <= item.top and item.top + item.side <= 1
            balls = [item for item in placed if item.kind == "ball"]
            cups = [item for item in placed if item.kind == "cup"]
            if relation == "left_of":
                assert max(b.left + b.side for b in balls) <= min(c.left for c in cups) + 0.04
            elif relation == "below":
                assert min(b.top for b in balls) >= max(c.top + c.side for c in cups) - 0.04
            elif relation == "behind":
                assert placed[: len(balls)] == balls  # drawn first, so that the cups hide some of them


SIZES = {"train": 400, "val": 40, "test": 80}


def test_a_quarter_is_ambiguous_in_every_split_and_senses_are_balanced():
    splits = make_scenes.draw_splits({**SIZES, "train": 1600}, 0.25, seed=1)
    for scenes in splits.values():
        assert sum(scene.word is not None for scene in scenes) == len(scenes) // 4
    senses = Counter(scene.sense for scene in splits["train"] if scene.word)
    for first, second in grammar.AMBIGUOUS:
        share = senses[first.german] / (senses[first.german] + senses[second.german])
        assert 0.25 < share < 0.75  # 50 scenes a pair: a deviation is 0.07


def test_no_scene_and_no_sentence_of_a_split_is_in_another():
    splits = make_scenes.draw_splits(SIZES, 0.25, seed=1)
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not {s.english for s in splits[one]} & {s.english for s in splits[other]}
        content = [{s.keys()[1] for s in splits[name]} for name in (one, other)]
        assert not content[0] & content[1]


def _digest(folder: Path) -> dict:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _arguments(output: Path, **options) -> list:
    options = {"train": 12, "val": 3, "test": 4, "image_size": 32, **options}
    return ["--output", str(output)] + [
        text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))
    ]


def test_same_options_give_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert not make_scenes.main(_arguments(tmp_path / name, seed=seed))
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b")
    assert _digest(tmp_path / "a") != _digest(tmp_path / "c")


def test_files_agree_line_by_line(tmp_path):
    assert not make_scenes.main(_arguments(tmp_path / "scenes"))
    for split, size in (("train", 12), ("val", 3), ("test", 4)):
        english = (tmp_path / f"scenes/text/{split}.lc.norm.tok.en").read_text(encoding="utf-8").splitlines()
        german = (tmp_path / f"scenes/text/{split}.lc.norm.tok.de").read_text(encoding="utf-8").splitlines()
        names = (tmp_path / f"scenes/image_splits/{split}.txt").read_text().split()
        lines = (tmp_path / f"scenes/{split}.meta.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(english) == len(german) == len(names) == len(lines) == size
        for name, line, source in zip(names, lines, english):
            entry = json.loads(line)
            assert entry["image"] == name and (tmp_path / "scenes/images" / name).is_file()
            assert not entry["ambiguous"] or entry["word"] in source


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    assert not make_scenes.main(_arguments(tmp_path / "whole"))
    draw, drawn = make_scenes.draw_scene, []

    def draw_five(*arguments):
        if len(drawn) == 5:
            raise KeyboardInterrupt
        drawn.append(arguments)
        return draw(*arguments)

    monkeypatch.setattr(make_scenes, "draw_scene", draw_five)
    with pytest.raises(KeyboardInterrupt):
        make_scenes.main(_arguments(tmp_path / "cut"))
    assert not (tmp_path / "cut").exists()

    def draw_on(*arguments):
        drawn.append(arguments)
        return draw(*arguments)

    monkeypatch.setattr(make_scenes, "draw_scene", draw_on)
    assert not make_scenes.main(_arguments(tmp_path / "cut"))
    assert len(drawn) == 19  # none twice
    assert _digest(tmp_path / "cut") == _digest(tmp_path / "whole")


def test_a_folder_made_otherwise_is_left_alone(tmp_path, capsys):
    assert not make_scenes.main(_arguments(tmp_path / "scenes"))
    before = _digest(tmp_path / "scenes")
    assert make_scenes.main(_arguments(tmp_path / "scenes", seed=9)) == 1
    assert "other options" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    assert make_scenes.main(_arguments(tmp_path / "mine")) == 1
    assert "holds no scenes" in capsys.readouterr().err
    assert _digest(tmp_path / "scenes") == before
