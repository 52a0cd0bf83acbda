"""The registry of systems: each is what its entry says, variants, refusals, the table of the README."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from fairseq import options
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import ARCH_MODEL_REGISTRY

import ikd_fairseq  # noqa: F401  registers models and criterions
from ikd_fairseq.cli import systems as command
from ikd_fairseq.errors import IkdError
from ikd_fairseq.experiments.systems import SYSTEMS, WHEN, derive, get_system, in_order, markdown_table

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_each_system_is_an_architecture_that_sees_images_when_its_entry_says_so(system):
    values = dict(zip(system.train_options[::2], system.train_options[1::2]))
    model = ARCH_MODEL_REGISTRY[values["--arch"]]
    assert model.requires_images == (system.images == "test")
    criterion = CRITERION_REGISTRY[values["--criterion"]]
    learns_from_images = criterion.__name__ != "LabelSmoothedCrossEntropyCriterion"
    assert learns_from_images == (system.images == "training")
    assert ("--retriever" in values) == (system.images == "index")
    assert system.images in WHEN and system.title


def test_a_variant_is_its_system_with_options_that_win():
    variant = derive("l1", "ikd", ["--distance", "l1"], "L1")
    assert variant.train_options == (*SYSTEMS["ikd"].train_options, "--distance", "l1")
    assert (variant.name, variant.title, variant.like) == ("l1", "L1", "ikd")
    assert variant.own_options == ("--distance", "l1")
    assert derive("ikd", "ikd", ["--kd-images-per-batch", "8"]).title == "IKD-MMT (Peng et al. 2022)"


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(IkdError, match=r"txet is none of: image-must .*did you mean text\?"):
        get_system("txet")
    with pytest.raises(IkdError, match="none of"):
        derive("mine", "nothing")
    with pytest.raises(IkdError, match="text is a system already"):
        derive("text", "ikd")


def test_unregistered_systems_come_last_by_name():
    assert in_order({"zebra", "ikd", "apple", "text"}) == ["text", "ikd", "apple", "zebra"]


def test_the_command_prints_options_images_and_the_list(capsys):
    assert command.main(["retrieval-topic"]) is None
    assert capsys.readouterr().out.split() == list(SYSTEMS["retrieval-topic"].train_options)
    command.main(["ikd", "--images"])
    assert capsys.readouterr().out == "training\n"
    command.main([])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(SYSTEMS)
    assert command.main(["txet"]) == 1
    assert "did you mean text" in capsys.readouterr().err


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_a_published_protocol_is_made_of_options_that_the_systems_own_command_takes(system):
    line = ["data", *system.train_options, *system.protocol(published=True)]
    args = options.parse_args_and_arch(
        options.get_training_parser(default_task="multimodal_translation"), line
    )
    for option, value in system.published.training.items():
        found = getattr(args, option.removeprefix("--").replace("-", "_"))
        assert str(found[0] if isinstance(found, list) else found) == value
    if "tiny_postnorm" in args.arch:
        assert args.encoder_normalize_before is False


def test_what_differs_from_the_common_protocol_is_what_the_authors_code_has():
    def training(name):
        return dict(zip(SYSTEMS[name].protocol(True)[::2], SYSTEMS[name].protocol(True)[1::2]))

    common = dict(zip(SYSTEMS["text"].protocol()[::2], SYSTEMS["text"].protocol()[1::2]))
    assert (common["--lr"], common["--max-update"]) == ("0.005", "8000")
    assert training("retrieval-dense")["--max-update"] == "15000"
    assert (training("hallucination")["--lr"], training("hallucination")["--max-tokens"]) == (
        "0.0025",
        "2048",
    )
    assert SYSTEMS["selective-attention"].published.decoding == {"--lenpen": "0.8"}
    assert training("text")["--lr"] == common["--lr"]
    with pytest.raises(IkdError, match="mine has no published protocol"):
        replace(SYSTEMS["text"], name="mine", published=None).protocol(published=True)


def test_the_command_prints_protocols(capsys):
    command.main(["retrieval-dense", "--protocol", "published"])
    words = capsys.readouterr().out.splitlines()
    assert words[words.index("--max-update") + 1] == "15000" and "(0.9, 0.98)" in words
    command.main(["selective-attention", "--protocol", "published", "--decoding"])
    assert capsys.readouterr().out.split() == ["--lenpen", "0.8"]
    command.main(["--protocol", "differences"])
    found = capsys.readouterr().out
    assert "--lr 0.0025" in found and "valhalla-nmt" in found and all(name in found for name in SYSTEMS)
    assert command.main(["text", "--decoding"]) == 1 and command.main(["--protocol", "common"]) == 1
    assert "give its NAME" in capsys.readouterr().err


def test_the_readme_has_the_table_of_systems(capsys):
    command.main(["--markdown"])
    assert capsys.readouterr().out == markdown_table()
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert markdown_table() in readme, "replace the table by the output of ikd-systems --markdown"
    assert set(re.findall(r"`([a-z-]+)`", markdown_table())) >= {*SYSTEMS} - {"text"}


def test_the_command_of_the_readme_is_that_of_the_registry():
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    (command_line,) = re.findall(r"^fairseq-train (?:.*\\\n)+.*", readme, re.MULTILINE)
    words = shlex.split(command_line.replace("\\\n", " "))
    pairs = set(zip(words, words[1:]))
    ikd = get_system("ikd")
    wanted = [*ikd.train_options, *ikd.protocol()]
    assert set(zip(wanted[::2], wanted[1::2])) <= pairs


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_the_options_that_are_not_fairseqs_are_described(system, capsys):
    command.main([system.name, "--describe"])
    described = re.findall(r"^  (--[\w-]+)", capsys.readouterr().out, re.MULTILINE)
    assert "--image-free" in described and "--consistency-weight" in described
    assert ("--kd-weight" in described) == (system.criterion == "inversion_distillation")
    assert not {"--encoder-layers", "--label-smoothing", "--source-lang"} & set(described)  # fairseq's


def test_described_defaults_are_those_of_the_preset(capsys):
    command.main(["ikd", "--describe"])
    described = capsys.readouterr().out
    assert "  --region-bias none|learned (default: learned)\n" in described
    assert "  --init-from STR\n" in described and "  --image-free\n" in described
    assert command.main(["--describe"]) == 1 and "give its NAME" in capsys.readouterr().err
