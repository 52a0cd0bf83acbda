"""How a training starts, with what, and when it is refused, by fairseq's own commands."""

import shutil

import pytest
import torch

from ikd_fairseq.compression.export import export_checkpoint
from ikd_fairseq.compression.pruned_checkpoint import prune_checkpoint
from ikd_fairseq.io.checkpoints import average_checkpoints
from tests.integration.command_line import IKD, MODEL, OPTIMIZER, TASK, refusal, run
from tests.integration.conftest import prepare, write_split

SMOOTHED = "--criterion label_smoothed_cross_entropy --label-smoothing 0.1"
TEXT = f"--arch transformer_mmt_tiny {MODEL} {SMOOTHED}"
GATED = f"--arch gated_fusion_tiny {MODEL} {SMOOTHED} --backbone efficientnet_lite0 --image-size 64"
GATED += " --backbone-weights random"


def train(data, folder, *options, fails=False) -> str:
    log = run(
        "fairseq_cli.train",
        [str(data)],
        TASK,
        OPTIMIZER,
        "--batch-size 16 --disable-validation --seed 4",
        f"--save-dir {folder}",
        *options,
        fails=fails,
    )
    return refusal(log) if fails else log


def weights(path):
    return torch.load(path, weights_only=True)["model"]


@pytest.fixture(scope="module")
def text(toy_data, tmp_path_factory):
    """Two checkpoints of a text-only model, their mean, and that exported and pruned."""
    folder = tmp_path_factory.mktemp("text")
    train(toy_data, folder, TEXT, "--max-epoch 2")
    average_checkpoints([folder / "checkpoint1.pt", folder / "checkpoint2.pt"], folder / "average.pt")
    export_checkpoint(folder / "average.pt", folder / "exported.pt")
    prune_checkpoint(folder / "exported.pt", folder / "pruned.pt", 0.6)
    return folder


@pytest.mark.parametrize(
    ("first", "options"),
    [("checkpoint_last.pt", IKD), ("average.pt", IKD), ("exported.pt", GATED), ("pruned.pt", IKD)],
)
def test_the_second_stage_begins_with_all_that_the_first_has(text, toy_data, tmp_path, first, options):
    # A rate of almost 0: what is saved is what training began with.
    log = train(toy_data, tmp_path, options, f"--init-from {text / first} --max-update 1 --lr 1e-30")
    (row,) = [line.split() for line in log.splitlines() if line.startswith("all ")]
    began, taken = weights(tmp_path / "checkpoint_last.pt"), weights(text / first)
    shared = [name for name in taken if name in began]
    masks = [name for name in taken if name.endswith("_mask")]
    assert (len(masks) > 0) == (first == "pruned.pt")
    assert row[1] == str(len(shared)) and row[3] == str(len(masks) or "-")
    assert int(row[4]) == len(began) - len(shared) > 0
    assert all(torch.equal(began[name], taken[name]) for name in shared)


def test_a_training_that_goes_on_ignores_it_and_other_starts_do_not_go_with_it(text, toy_data, tmp_path):
    first = tmp_path / "first.pt"
    shutil.copy(text / "average.pt", first)
    train(toy_data, tmp_path / "run", IKD, f"--init-from {first} --max-update 2")
    first.unlink()
    assert "is not read: training goes on" in train(
        toy_data, tmp_path / "run", IKD, f"--init-from {first} --max-update 3"
    )
    assert "there is no such file" in train(
        toy_data, tmp_path / "new", IKD, f"--init-from {first}", fails=True
    )
    last = text / "checkpoint_last.pt"
    for other in (f"--restore-file {last}", f"--finetune-from-model {last}"):
        sentence = train(toy_data, tmp_path / "new", TEXT, f"--init-from {last}", other, fails=True)
        assert "both say where to start from" in sentence
    sentence = train(toy_data, tmp_path / "new", TEXT, f"--restore-file {first}", fails=True)
    assert "first.pt does not exist" in sentence


def test_a_training_that_has_had_its_updates_stays_as_it_is(toy_data, tmp_path):
    train(toy_data, tmp_path, TEXT, "--max-update 2")
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")}
    assert "trained for 2 updates, and --max-update is 2: done" in train(
        toy_data, tmp_path, TEXT, "--max-update 2"
    )
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")} == before


def test_a_checkpoint_of_another_model_or_training_is_told(text, toy_data):
    assert "average.pt is of another model" in train(
        toy_data, text / "new", IKD, f"--restore-file {text / 'average.pt'}", fails=True
    )
    other = TEXT.replace("label_smoothed_cross_entropy --label-smoothing 0.1", "cross_entropy")
    assert "is of a training with another --criterion" in train(toy_data, text, other, fails=True)
    sgd = run(
        "fairseq_cli.train",
        [str(toy_data)],
        TASK,
        TEXT,
        f"--optimizer sgd --lr 0.1 --num-workers 0 --cpu --batch-size 16 --save-dir {text}",
        fails=True,
    )
    assert "is of a training with another --optimizer" in refusal(sgd)


def test_a_checkpoint_is_used_with_its_own_dictionaries_alone(text, toy_data, tmp_path):
    data = shutil.copytree(toy_data, tmp_path / "data")
    for language in ("en", "de"):
        path = data / f"dict.{language}.txt"
        lines = path.read_text("utf-8").splitlines(keepends=True)
        path.write_text("".join([lines[1], lines[0], *lines[2:]]), encoding="utf-8")
    decoding = [[str(data)], TASK, f"--path {text / 'average.pt'} --cpu"]
    run_dir = shutil.copytree(text, tmp_path / "run")
    sentences = [
        refusal(run("fairseq_cli.generate", *decoding, fails=True)),
        refusal(run("fairseq_cli.interactive", *decoding, fails=True)),
        refusal(run("fairseq_cli.validate", *decoding, "--batch-size 8", fails=True)),
        train(data, run_dir, TEXT, "--max-epoch 3", fails=True),
        train(data, tmp_path / "new", IKD, f"--init-from {text / 'average.pt'}", fails=True),
    ]
    for sentence in sentences:
        assert "was trained with another" in sentence and "dict.en.txt (other words" in sentence


def test_a_damaged_dictionary_is_told_by_fairseqs_commands_and_ours(toy_data, tmp_path):
    data = shutil.copytree(toy_data, tmp_path / "data")
    with open(data / "dict.en.txt", "a") as stream:
        stream.write("ball\n")
    number = len((data / "dict.en.txt").read_text("utf-8").splitlines())
    sentence = train(data, tmp_path / "run", TEXT, fails=True)
    assert f"dict.en.txt is damaged: line {number}, 'ball', is not one word and its count" in sentence
    words = f"--srcdict {data / 'dict.en.txt'}"
    prepared = f"-s en -t de --trainpref {toy_data.parent / 'train'} --destdir {tmp_path / 'again'} {words}"
    # fairseq's own command knows the plugin by --user-dir alone
    plugin = TASK.split(" --task")[0]
    log = run("fairseq_cli.preprocess", prepared, plugin, "--joined-dictionary", fails=True)
    assert f"line {number}" in refusal(log)


def test_divergence_ends_training_and_names_the_last_good_checkpoint(toy_data, tmp_path):
    sentence = train(toy_data, tmp_path, TEXT, "--max-update 3 --save-interval-updates 1")
    sentence = train(toy_data, tmp_path, TEXT, "--max-update 9 --lr 1e30 --reset-lr-scheduler", fails=True)
    assert "training has diverged in update 5" in sentence and "the last good checkpoint" in sentence
    named = sentence.split("from ")[-1].split(", the last good")[0]
    assert all(bool(torch.isfinite(value).all()) for value in weights(named).values())


TIED = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight")


def test_an_average_over_updates_takes_counts_over_as_they_are(toy_data, tmp_path):
    train(toy_data, tmp_path, IKD, "--max-update 1 --store-ema --ema-decay 0.25")
    before = weights(tmp_path / "checkpoint_last.pt")
    train(toy_data, tmp_path, IKD, "--max-update 2 --store-ema --ema-decay 0.25")
    state = torch.load(tmp_path / "checkpoint_last.pt", weights_only=False)
    now, mean = state["model"], state["extra_state"]["ema"]
    counts = [name for name in now if name.endswith("num_batches_tracked")]
    assert counts and all(mean[name] == now[name] >= 2 for name in counts)
    assert set(mean) == set(now)
    for name in set(now) - set(counts):
        times = 3 if name in TIED else 1  # fairseq averages a weight once for each of its names
        decay = 1 if name.endswith(".version") else 0.25**times
        torch.testing.assert_close(mean[name], decay * before[name] + (1 - decay) * now[name])


def test_half_precision_without_a_gpu_is_refused_before_data_are_read(tmp_path, toy_data):
    data = shutil.copytree(toy_data, tmp_path / "data")
    (data / "train.en-de.en.bin").unlink()
    for option in ("--fp16", "--bf16", "--memory-efficient-fp16"):
        name = option.removeprefix("--memory-efficient-").strip("-")
        assert f"--{name} trains in half precision" in train(data, tmp_path / "run", TEXT, option, fails=True)
    assert "--amp of fairseq 0.12 divides" in train(data, tmp_path / "run", TEXT, "--amp", fails=True)


def test_small_and_split_corpora_and_separate_dictionaries_train(tmp_path):
    data = prepare(tmp_path / "small", {"train": (3, [0]), "valid": (4, [])})
    assert '"num_updates": "1"' in train(data, tmp_path / "a", TEXT, "--max-epoch 1").replace("'", '"')
    more = prepare(tmp_path / "more", {"train": (5, []), "valid": (4, [])}, dictionary=data / "dict.en.txt")
    for file in more.glob("train.*"):
        shutil.copy(file, data / file.name.replace("train.", "train1."))
    log = train(data, tmp_path / "b", TEXT, "--max-epoch 1")
    assert "train1 en-de 5 examples" in log and '"bsz": "8"' in log

    write_split(tmp_path, "train", 40, [], seed=1)
    own = tmp_path / "own"
    run("fairseq_cli.preprocess", f"-s en -t de --trainpref {tmp_path / 'train'} --destdir {own} --workers 1")
    assert "--separate-embeddings" in train(own, tmp_path / "c", TEXT, fails=True)
    train(own, tmp_path / "c", TEXT, "--separate-embeddings --max-update 2")
    found = weights(tmp_path / "c" / "checkpoint_last.pt")
    assert not torch.equal(found["encoder.embed_tokens.weight"], found["decoder.embed_tokens.weight"])
    log = run(
        "fairseq_cli.generate",
        [str(own)],
        TASK,
        f"--gen-subset train --path {tmp_path / 'c' / 'checkpoint_last.pt'} --cpu --batch-size 8",
    )
    assert "H-39" in log
