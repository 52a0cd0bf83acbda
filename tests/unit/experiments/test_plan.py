"""Plans: what they stand for, and how a bad one is refused."""

import re
from dataclasses import replace

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.experiments.plan import METHODS, read_plan

SYSTEMS = """\
title: Toy
seeds: [1, 2]
protocol:
  updates: 9
  average: 2
  options: --lr 1 --adam-betas '(0.9, 0.98)'
systems:
  - text
  - {name: l1, like: ikd, options: --distance l1, title: L1}
baseline: text
"""
TAUGHT = """\
title: Toy
seeds: 1
protocol: {updates: 9, options: --warmup-updates 4}
distillation:
  teacher: a.pt:b.pt
  students:
    - {name: nano, like: text, options: --arch nano}
    - {name: small, like: ikd, own-loss-options: --kd-weight 2, word-loss-options: --no-student}
  methods: [seq+inter, seq, base, word]
  sparsities: 80
  tune-updates: 3
"""


@pytest.fixture
def plan_of(tmp_path):
    def read(text):
        file = tmp_path / "toy.yaml"
        file.write_text(text, encoding="utf-8")
        return read_plan(file)

    return read


def test_a_plan_knows_the_place_of_every_run_and_of_a_single_teacher(plan_of):
    places = plan_of(SYSTEMS + "pairs: [en-de, en-fr]\n").places
    assert places[:3] == (
        ("en-de", "original", "text", 1),
        ("en-de", "original", "text", 2),
        ("en-de", "original", "l1", 1),
    )
    assert len(places) == 8 and places[-1] == ("en-fr", "original", "l1", 2)
    taught = plan_of(TAUGHT.replace("a.pt:b.pt", "a.pt")).places
    assert taught[0] == ("en-de", "original", "teacher", None)
    assert ("en-de", "seq", "nano-seq", 1) in taught and taught[1:] == plan_of(TAUGHT).places


def test_a_plan_names_systems_and_variants_whose_options_come_behind_those_for_all(plan_of):
    plan = plan_of(SYSTEMS)
    assert plan.pairs == ("en-de",) and plan.seeds == (1, 2) and plan.tests == () and plan.table == "systems"
    assert (plan.protocol.updates, plan.protocol.average, plan.protocol.backbone) == (
        9,
        2,
        "efficientnet_lite0",
    )
    text, l1 = plan.rows
    shared = ("--lr", "1", "--adam-betas", "(0.9, 0.98)")
    assert (text.system.name, text.options, text.text, text.updates) == ("text", shared, "original", 9)
    assert (l1.system.name, l1.system.like, l1.system.title) == ("l1", "ikd", "L1")
    assert l1.options == (*shared, "--distance", "l1")


def test_a_plan_takes_what_it_leaves_out_from_the_one_that_it_is_like(plan_of, tmp_path):
    (tmp_path / "first.yaml").write_text(SYSTEMS)
    (tmp_path / "second.yaml").write_text("like: first.yaml\nprotocol: {updates: 5}\nseeds: 7")
    plan, first = plan_of("title: Third\nlike: second.yaml\nsystems: [text]"), plan_of(SYSTEMS)
    assert (plan.title, plan.seeds, plan.pairs, plan.baseline) == ("Third", (7,), first.pairs, "text")
    assert [row.system.name for row in plan.rows] == ["text"]
    assert plan.protocol == replace(first.protocol, updates=5)
    (tmp_path / "first.yaml").write_text("like: toy.yaml")
    with pytest.raises(IkdError, match=r"first.yaml is like .*/toy.yaml, which is like it: leave that out"):
        plan_of("like: first.yaml")
    (tmp_path / "first.yaml").write_text("- text")
    with pytest.raises(IkdError, match="first.yaml, which .*/toy.yaml is like, is not a mapping"):
        plan_of("like: first.yaml")
    with pytest.raises(IkdError, match="plan .*nowhere.yaml cannot be read"):
        plan_of("like: nowhere.yaml")


def test_every_system_is_trained_on_every_text(plan_of):
    plan = plan_of(SYSTEMS + "texts: [original, colour]\n")
    found = [(row.text, row.system.name) for row in plan.rows]
    assert found == [("original", "text"), ("original", "l1"), ("colour", "text"), ("colour", "l1")]


def test_students_are_taught_by_every_method_and_the_first_is_pruned(plan_of):
    rows = {row.system.name: row for row in plan_of(TAUGHT).rows}
    order = ["base", "word", "seq", "seq+inter"]  # each behind the one from which it goes on
    assert list(rows) == [f"{name}-{method}" for name in ("nano", "small") for method in order] + [
        "nano-pruned80"
    ]
    assert rows["nano-base"].options == ("--warmup-updates", "4", "--arch", "nano")
    assert rows["small-base"].options[-2:] == ("--kd-weight", "2")
    word = rows["small-word"].options
    assert "--no-student" in word and "--kd-weight" not in word and rows["small-word"].text == "original"
    assert word[word.index("--criterion") + 1] == "word_distillation" and "--image-free" in word
    assert (rows["nano-seq"].text, rows["nano-seq"].updates, rows["nano-seq"].start) == ("seq", 9, None)
    tuned = rows["nano-seq+inter"]
    assert (tuned.text, tuned.updates, tuned.start, tuned.sparsity) == ("inter", 3, "nano-seq", 0)
    assert tuned.options[-6:] == (
        *("--lr", "0.0005", "--warmup-init-lr", "0.0005"),
        *("--warmup-updates", "3"),
    )
    pruned = rows["nano-pruned80"]
    assert (pruned.start, pruned.sparsity, pruned.updates) == ("nano-seq+inter", 80, 3)
    assert pruned.system.title == "Seq-KD + Seq-Inter, 80 % pruned"


def test_every_method_goes_on_from_one_before_it():
    names = list(METHODS)
    for number, (name, method) in enumerate(METHODS.items()):
        assert method.start is None or method.start in names[:number], name
        assert method.word_loss == ("word" in name)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("title: [", "no YAML at line 1"),
        ("- text", "is not a mapping of title, pairs, "),
        (SYSTEMS.replace("seeds:", "seed:"), "has seed, which it does not know: the keys are title"),
        (SYSTEMS.replace("title: Toy", "title:"), "has no title: add a line title: ..."),
        (SYSTEMS.replace("[1, 2]", "[1, x]"), r"seeds is \[1, 'x'\], .* a whole number of at least 0"),
        (SYSTEMS.replace("[1, 2]", "[1, 1]"), "seeds has 1 twice: leave one out"),
        (SYSTEMS.replace("[1, 2]", "[]"), "empty list of pairs or seeds"),
        (SYSTEMS + "pairs: [de]", r"pairs is \['de'\], but should be languages such as en-de"),
        (SYSTEMS + "distillation: {}", "should have either systems or distillation"),
        (SYSTEMS + "texts: [colour]", "texts leave out original"),
        (SYSTEMS + "texts: [original, noun]", "texts is .* a list of some of: original colour entity"),
        (SYSTEMS.replace("updates: 9", "updates: 0"), "protocol: updates is 0, .* at least 1"),
        (SYSTEMS.replace("updates:", "update:"), "protocol has update, .* are updates, average"),
        (SYSTEMS.replace("--lr 1", "lr 1"), "protocol: options is .*, such as --dropout 0.1"),
        (SYSTEMS.replace("'(", "("), "protocol: options is .* options as in a shell .No closing quotation"),
        (SYSTEMS.replace("- text", "- txet"), "systems, entry 1: system txet is none of: .*mean text"),
        (SYSTEMS.replace("like: ikd", "like: idk"), "systems, entry 2: system idk is none of"),
        (SYSTEMS.replace("name: l1", "name: a b"), "entry 2: name is 'a b', but should be a list of names"),
        (SYSTEMS.replace("name: l1", "nane: l1"), "systems, entry 2 has nane, .*: the keys are name, like"),
        (SYSTEMS.replace("name: l1", "name: image-must"), "entry 2: image-must is a system already"),
        (SYSTEMS.replace("- text", "- {name: l1, like: text}"), "systems: l1 is there 2 times"),
        (SYSTEMS.replace("baseline: text", "baseline: ikd"), "baseline ikd is none of its systems: text l1"),
        (TAUGHT.replace("  teacher: a.pt:b.pt\n", ""), "distillation has no teacher"),
        (TAUGHT.replace("seq, base", "base"), "methods leave out seq, which others need: add it"),
        (TAUGHT.replace("[seq+inter, seq, base", "[base"), r"methods leave out seq\+inter"),
        (TAUGHT.replace("seq+inter,", "seq-inter,"), r"methods is .* a list of some of: base control word"),
        (TAUGHT.replace("sparsities: 80", "sparsities: 100"), "sparsities has 100, .* below 100"),
        (TAUGHT + "pairs: [en-de, en-fr]", "one of pairs, and no texts"),
        (TAUGHT.replace("own-loss-options", "own-options"), "students, entry 2 has own-options"),
    ],
)  # fmt: skip
def test_a_bad_plan_is_refused_in_a_sentence_that_names_file_and_entry(plan_of, text, sentence):
    with pytest.raises(IkdError) as refused:
        plan_of(text)
    assert str(refused.value).startswith("plan /") and "toy.yaml" in str(refused.value)
    assert re.search(sentence, str(refused.value)), refused.value
    assert "\n" not in str(refused.value)


def test_a_plan_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(IkdError, match="none.yaml cannot be read .*: give the path of a YAML file"):
        read_plan(tmp_path / "none.yaml")
