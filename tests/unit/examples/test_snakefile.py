"""The workflow over stand-ins of recipes and commands, and dry runs of the plans that are shipped."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from snakemake.cli import main as snakemake

import ikd_fairseq  # noqa: F401  registers what plans name

RECIPES = Path(__file__).resolve().parents[3] / "examples" / "multi30k"
PLANS = sorted((RECIPES / "plans").glob("*.yaml"))

# What is called goes to calls.txt, a call a line. A call that contains $FAILS fails.
SAY = """#!/usr/bin/env bash
set -e
name=$(basename "$0" .sh)
run=${SYSTEM_NAME:+ $SYSTEM_NAME}${LABELS:+ $LABELS}${UPDATES:+ $UPDATES $SEED}${BEAM:+ beam $BEAM}
echo "$name$run $*" >>"$CALLS"
[[ -z ${FAILS:-} || "$*" != *"$FAILS"* ]] || { echo "out of memory"; exit 1; }
"""
STAND_INS = {
    "train.sh": 'touch "$2/checkpoint1.pt" "$2/checkpoint2.pt" "$2/checkpoint_last.pt"',
    "translate.sh": 'end=; ((BEAM == 5)) || end=.beam$BEAM; touch "$(dirname "$2")/generate-$3$end.txt"',
    "prepare.sh": "true",
    "ikd-average-checkpoints": 'while [[ $1 != --output ]]; do shift; done; touch "$2"',
    "ikd-build-image-index": 'touch "$2/image-index.$4.pt"',
    "ikd-extract-features": 'touch "$2/$4.features.$6.json"',
    "ikd-analyse": 'touch "$5/degrade.json"',
    "ikd-distil-data": 'mkdir -p "$2/generated"; touch "$2/distilled.json" "$2/generated/shard-0.txt"',
    "ikd-cache-teacher": 'touch "$1/train.teacher.${*: -1}.json"',
    "ikd-prune": 'touch "$2"',
    "ikd-fairseq-dir": "echo USER_DIR",
    "fairseq-generate": "true",
    "ikd-record": "true",
    "ikd-table": 'touch "$1/toy.md"',
    "nvidia-smi": "exit 9",  # never asked, as GPUs are hidden
}

PLAN = """\
title: Toy
seeds: [3, 4]
protocol: {updates: 7, average: 2, options: --max-tokens 100}
systems: [text, {name: kl, like: ikd, options: --distance kl}]
tests: [test, test1]
"""
TAUGHT = """\
title: Toy
seeds: 1
protocol: {updates: 7, average: 2}
distillation:
  teacher: teacher.pt
  students: [{name: nano, like: text, options: --arch transformer_mmt_nano}]
  methods: [base, word, seq, seq+inter]
  sparsities: 5
  tune-updates: 3
  beam: 4
  speeds: 64
tests: test
"""


def write_data(folder: Path, pairs=("en-de",), images=("train", "test")) -> None:
    """What the workflow looks at in folders that prepare.sh made."""
    for pair in pairs:
        data, language = folder / pair, pair.split("-")[1]
        for split in ("valid", "test", "test1", "test2"):
            for kind in ("bpe", "reference")[: 1 if split == "valid" else 2]:
                (data / kind).mkdir(parents=True, exist_ok=True)
                (data / kind / f"{split}.{language}").touch()
        (data / "code").touch()
        (data / f"train.{pair}.{language}.idx").touch()
        (data / "made-from.txt").write_text(f"{pair}, 10 merges, text 1 2\n")
        for split in images:
            (data / f"{split}.images.npy").touch()
            pack = {"image_size": 64, "sentences_with_image": 40, "sentences": 64}
            (data / f"{split}.images.json").write_text(json.dumps(pack))


@pytest.fixture
def workflow(tmp_path, monkeypatch, capfd):
    """Runs the workflow; gives its status, what it printed and the calls that it made."""
    recipes, bin_ = tmp_path / "recipes", tmp_path / "bin"
    bin_.mkdir()
    shutil.copytree(RECIPES / "profiles", recipes / "profiles")
    for name in ("Snakefile", "take_gpus.sh"):
        shutil.copy(RECIPES / name, recipes)
    for name, does in STAND_INS.items():
        script = (recipes if name.endswith(".sh") else bin_) / name
        script.write_text(SAY + does + "\n")
        script.chmod(0o755)
    write_data(tmp_path / "data")
    (tmp_path / "teacher.pt").touch()
    calls = tmp_path / "calls.txt"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.executable", str(bin_ / "python"))
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def run(plan, *config, fails="", options=()):
        calls.write_text("")
        monkeypatch.setenv("FAILS", fails)
        file = plan
        if isinstance(plan, str):
            file = tmp_path / "toy.yaml"
            file.write_text(plan, encoding="utf-8")
        arguments = [
            "--snakefile",
            recipes / "Snakefile",
            "--cores",
            "1",
            *options,
            "--config",
            f"plan={file}",
        ]
        try:
            status = snakemake([*map(str, arguments), *config])
        except SystemExit as ended:
            status = ended.code
        made = [line.rstrip() for line in calls.read_text().splitlines()]
        return status, "".join(capfd.readouterr()), made

    return run


def of(calls, name):
    return [call for call in calls if call.startswith(f"{name} ")]


def jobs(output) -> dict[str, int]:
    """How often each rule is to run, by the statistics of a dry run."""
    found = re.findall(r"^(\w+) +(\d+)$", output.split("Job stats:")[1].split("total")[0], re.MULTILINE)
    return {name: int(count) for name, count in found}


# ---- runs --------------------------------------------------------------------------------------------------


def test_a_grid_trains_averages_translates_and_ends_in_a_table(workflow, tmp_path):
    status, output, calls = workflow(PLAN)
    assert status in (0, None), output
    trained = "--keep-last-epochs 2 --max-tokens 100"
    assert sorted(of(calls, "train")) == sorted(
        f"train {name} text=original 7 {seed} data/en-de runs/toy/en-de/{name}-seed{seed} {options}"
        for seed in (3, 4)
        for name, options in (("text", f"text {trained}"), ("kl", f"ikd {trained} --distance kl"))
    )
    run = "runs/toy/en-de/kl-seed3"
    assert f"ikd-average-checkpoints --last 2 --or-fewer --output {run}/average.pt {run}" in calls
    for split in ("test", "test1"):
        assert f"translate beam 5 data/en-de {run}/average.pt {split}" in calls
    assert calls[-1] == f"ikd-table runs/toy --plan {tmp_path}/toy.yaml"


def test_the_profile_of_a_cluster_can_be_taken(workflow, tmp_path):
    profile = str(tmp_path / "recipes" / "profiles" / "slurm")
    local = ["--dry-run", "--workflow-profile", profile, "--executor", "local"]
    status, output, _ = workflow(PLAN, options=local)
    assert status in (0, None) and jobs(output)["train"] == 4, output


def test_before_anything_runs_it_is_said_what_is_not_scored(workflow, monkeypatch, caplog):
    monkeypatch.setenv("METEOR_JAR", "/nowhere/meteor.jar")
    workflow(PLAN, options=["--dry-run"])
    said = [record.getMessage().split(":")[0] for record in caplog.records]
    assert "no METEOR" in said and said.index("no METEOR") < said.index("Building DAG of jobs...")


def test_run_again_it_skips_what_is_finished(workflow, tmp_path):
    workflow(PLAN)
    assert workflow(PLAN)[2] == []
    (tmp_path / "runs/toy/en-de/kl-seed4/generate-test1.txt").unlink()
    calls = workflow(PLAN)[2]
    assert [call.split()[0] for call in calls] == ["translate", "ikd-table"] and "kl-seed4" in calls[0]
    calls = workflow(PLAN.replace("[3, 4]", "[3, 4, 5]"))[2]
    assert sorted(call.split()[4] for call in of(calls, "train")) == ["5", "5"]


def test_a_failed_run_leaves_the_others_going_and_is_done_next_time(workflow, tmp_path):
    status, output, calls = workflow(PLAN, fails="kl-seed3 ikd")
    assert status == 1 and "out of memory" in output
    assert len(of(calls, "translate")) == 6 and not of(calls, "ikd-table")
    assert not (tmp_path / "runs/toy/en-de/kl-seed3/trained").exists()
    calls = workflow(PLAN)[2]
    assert len(of(calls, "train")) == 1 and "kl-seed3" in of(calls, "train")[0]
    assert len(of(calls, "translate")) == 2 and len(of(calls, "ikd-table")) == 1


def test_checkpoints_of_a_run_that_was_cut_off_are_left_to_its_training(workflow, tmp_path):
    checkpoint = tmp_path / "runs/toy/en-de/kl-seed3/checkpoint1.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("half a run")
    assert workflow(PLAN)[0] in (0, None)
    assert checkpoint.read_text() == "half a run"  # Snakemake removed nothing before train.sh began


def test_changed_options_are_noticed_and_not_mixed_into_a_run(workflow, tmp_path):
    workflow(PLAN)
    changed = PLAN.replace("--distance kl", "--distance l1")
    status, _, calls = workflow(changed)
    assert (
        not calls and "other settings: runs/toy/en-de/kl-seed3 (options); runs/toy/en-de/kl-seed4" in status
    )
    assert workflow(PLAN)[2] == []  # as it was: nothing was lost
    for seed in (3, 4):
        shutil.rmtree(tmp_path / f"runs/toy/en-de/kl-seed{seed}")
    assert [call.rpartition(" ")[2] for call in of(workflow(changed)[2], "train")] == ["l1", "l1"]


def test_other_data_is_not_mixed_into_a_run(workflow, tmp_path):
    workflow(PLAN)
    (tmp_path / "data/en-de/made-from.txt").write_text("en-de, 20 merges, text 1 2\n")
    status, _, calls = workflow(PLAN)
    assert not calls and "runs/toy/en-de/text-seed3 (data)" in status


@pytest.mark.parametrize("value", ["false", "no", "2"])
def test_discard_takes_no_word_for_a_yes(workflow, value):
    status, _, calls = workflow(PLAN, f"discard={value}")
    assert f"discard={value} is neither 1, for yes, nor 0" in status and not calls


def test_discard_leaves_the_average(workflow, tmp_path):
    assert workflow(PLAN, "discard=1")[0] in (0, None)
    run = tmp_path / "runs/toy/en-de/kl-seed3"
    assert {path.name for path in run.glob("*.pt")} == {"average.pt"}
    assert workflow(PLAN, "discard=1")[2] == workflow(PLAN)[2] == []


def test_what_is_averaged_and_discarded_is_never_made_again(workflow, tmp_path):
    workflow(PLAN, "discard=1")
    run = tmp_path / "runs/toy/en-de/kl-seed3"
    (run / "average.pt").write_text("weights")
    (run / "trained").unlink()
    status, output, calls = workflow(PLAN)
    assert status in (0, None), output
    assert not of(calls, "train") and not of(calls, "ikd-average-checkpoints")
    assert (run / "average.pt").read_text() == "weights"


def test_a_run_of_another_checkout_is_not_made_again(workflow, tmp_path):
    workflow(PLAN)
    recipes = tmp_path / "recipes"
    snakefile = recipes / "Snakefile"
    snakefile.write_text(snakefile.read_text().replace("exec &>{log:q}", "exec &>{log:q}  # mended"))
    recipes.rename(tmp_path / "elsewhere")
    recipes.symlink_to("elsewhere")
    assert workflow(PLAN)[2] == []


def test_images_are_indexed_once_and_read_at_test_by_image_must_systems_alone(workflow):
    plan = PLAN.replace(
        "[text, {name: kl, like: ikd, options: --distance kl}]", "[retrieval-topic, image-must]"
    )
    calls = workflow(plan)[2]
    (index,) = of(calls, "ikd-build-image-index")
    assert index.endswith("--data data/en-de --retriever topic --backbone efficientnet_lite0 --device cpu")
    assert calls.index(index) < min(calls.index(call) for call in of(calls, "train") if "retrieval" in call)
    translated = of(calls, "translate")
    assert sorted(call for call in translated if "image-must" in call) == [
        f"translate beam 5 data/en-de runs/toy/en-de/image-must-seed{seed}/average.pt test --with-images"
        for seed in (3, 4)
    ]
    assert not [call for call in translated if "retrieval" in call and "--with-images" in call]


def test_features_are_extracted_before_what_reads_them(workflow, tmp_path):
    plan = PLAN.replace(
        "[text, {name: kl, like: ikd, options: --distance kl}]",
        "[{name: image-must, options: --image-features efficientnet_lite0}, text]",
    )
    calls = workflow(plan)[2]
    extracted = of(calls, "ikd-extract-features")
    assert sorted(extracted) == [
        f"ikd-extract-features --data data/en-de --split {split} --backbone efficientnet_lite0 --device cpu"
        for split in ("test", "train")  # valid and test1 have no images
    ]
    of_train = next(call for call in extracted if "train" in call)
    assert calls.index(of_train) < min(
        calls.index(call) for call in of(calls, "train") if "image-must" in call
    )
    of_test = next(call for call in extracted if "test" in call)
    assert calls.index(of_test) < min(
        calls.index(call) for call in of(calls, "translate") if "image-must" in call
    )
    assert not of(workflow(plan, "out=again")[2], "ikd-extract-features")


def test_features_of_others_are_asked_for_before_anything_starts(workflow, tmp_path):
    plan = PLAN.replace("[text,", "[{name: gated-fusion, options: --image-features vit}, text,")
    status, _, calls = workflow(plan)
    assert "train.features.vit.json is missing, and gated-fusion reads these features" in status and not calls
    (tmp_path / "data/en-de/train.features.vit.json").touch()
    assert "test.features.vit.json is missing" in workflow(plan)[0]
    (tmp_path / "data/en-de/test.features.vit.json").touch()
    assert workflow(plan)[0] in (0, None)


def test_gpus_of_a_run_share_the_tokens_of_an_update(workflow):
    output = workflow(PLAN, "gpus=4", options=["--dry-run"])[1]
    assert "--keep-last-epochs 2 --update-freq 1 --max-tokens 2048 --max-tokens 100" in output
    assert "take_gpus.sh 4 1" in output


def test_runs_may_share_a_gpu(workflow):
    output = workflow(PLAN, "gpus=1", "share=6", options=["--dry-run"])[1]
    assert "take_gpus.sh 1 6" in output


def test_data_may_lie_below_the_folder_that_is_filled(workflow, tmp_path):
    (tmp_path / "data").rename(tmp_path / "other")
    write_data(tmp_path / "runs" / "data")
    plan = PLAN.replace("[text, {name: kl, like: ikd, options: --distance kl}]", "[retrieval-topic]")
    status, output, calls = workflow(plan, "data=runs/data/en-de", "out=runs")
    assert status in (0, None), output
    assert len(of(calls, "ikd-build-image-index")) == 1 and not of(calls, "prepare")


# ---- masked text -------------------------------------------------------------------------------------------


@pytest.fixture
def masked(workflow, tmp_path):
    (tmp_path / "folder" / "text").mkdir(parents=True)
    (tmp_path / "masks").mkdir()
    for name in ("color", "noun", "nouns", "people"):
        (tmp_path / "masks" / f"{name}.position").write_text("-1\n")
    return lambda *config, **more: workflow(PLAN + "texts: [original, colour, entity]\n", *config, **more)


def test_masked_texts_are_prepared_like_the_original_and_all_three_are_run(masked):
    status, output, calls = masked("folder=folder", "masks=masks")
    assert status in (0, None), output
    mask = "--language en --mask-token [U] --positions"
    assert sorted(of(calls, "ikd-analyse")) == [
        f"ikd-analyse degrade --folder folder --output runs/toy/text-colour.en --mask colour {mask} "
        "masks/color.position",
        f"ikd-analyse degrade --folder folder --output runs/toy/text-entity.en --mask entity {mask} "
        "masks/noun.position masks/nouns.position masks/people.position",
    ]
    assert sorted(of(calls, "prepare")) == [
        f"prepare runs/toy/text-{kind}.en runs/toy/data/en-de-{kind} --pair en-de --workers 1 "
        "--like data/en-de --keep [U]"
        for kind in ("colour", "entity")
    ]
    data = {
        "original": "data/en-de",
        "colour": "runs/toy/data/en-de-colour",
        "entity": "runs/toy/data/en-de-entity",
    }
    for text, folder in data.items():
        for seed in (3, 4):
            run = f"runs/toy/{text}/en-de/kl-seed{seed}"
            assert f"train kl text={text} 7 {seed} {folder} {run} ikd --keep-last-epochs 2 " in " ".join(
                calls
            )
            assert f"translate beam 5 {folder} {run}/average.pt test1" in calls


def test_without_annotation_the_words_are_left_to_the_command(masked):
    output = masked("folder=folder", options=["--dry-run"])[1]
    assert jobs(output)["mask"] == 2 and "--positions" not in output


def test_other_masks_are_noticed(masked, tmp_path):
    masked("folder=folder", "masks=masks")
    assert masked("folder=folder", "masks=masks")[2] == []
    noun = tmp_path / "masks" / "noun.position"
    noun.write_text("0\n")
    os.utime(noun, (noun.stat().st_mtime + 9,) * 2)
    status, _, calls = masked("folder=folder", "masks=masks")
    assert not calls and "other settings: runs/toy/entity/en-de/text-seed3 (masked words)" in status
    assert "original" not in status and "colour" not in status


# ---- a teacher ---------------------------------------------------------------------------------------------


def test_students_wait_for_the_teacher_and_for_the_student_that_they_go_on_from(workflow):
    status, output, calls = workflow(TAUGHT)
    assert status in (0, None), output
    data, runs = "runs/toy/data/en-de", "runs/toy/en-de"
    best, closest = of(calls, "ikd-distil-data")
    assert best == (
        f"ikd-distil-data data/en-de {data}-seq --teacher-path teacher.pt --beam 4 --shards 4 --image-free "
        "-- --max-tokens 4096"
    )
    assert closest == (
        f"ikd-distil-data data/en-de {data}-inter --select closest --nbest 4 "
        f"--generate-output {data}-seq/generated/shard-0.txt"
    )
    (cache,) = of(calls, "ikd-cache-teacher")
    assert (
        cache == "ikd-cache-teacher data/en-de --split train --teacher-path teacher.pt --top-k 8 --name grid"
    )
    trained = {call.split()[1]: call for call in of(calls, "train")}
    assert trained["nano-seq"] == (
        f"train nano-seq text=seq 7 1 {data}-seq {runs}/nano-seq-seed1 text --keep-last-epochs 2"
        " --arch transformer_mmt_nano"
    )
    assert "--criterion word_distillation --teacher-cache grid --image-free" in trained["nano-word"]
    tuned = "--lr 0.0005 --warmup-init-lr 0.0005 --warmup-updates 3"
    assert trained["nano-seq+inter"].endswith(
        f"3 1 {data}-inter {runs}/nano-seq+inter-seed1 text --keep-last-epochs 2 "
        f"--finetune-from-model {runs}/nano-seq-seed1/average.pt --arch transformer_mmt_nano {tuned}"
    )
    pruned = f"{runs}/nano-pruned5-seed1"
    assert f"--finetune-from-model {pruned}/pruned.pt" in trained["nano-pruned5"]
    assert of(calls, "ikd-prune") == [
        f"ikd-prune {runs}/nano-seq+inter-seed1/average.pt {pruned}/pruned.pt --sparsity 0.05",
        f"ikd-prune {pruned}/average.pt {pruned}/packed.pt --pack",
    ]
    assert (  # what was tuned may be over within an epoch
        f"ikd-average-checkpoints --output {pruned}/average.pt {pruned}/checkpoint_last.pt" in calls
    )
    order = [calls.index(call) for call in (best, trained["nano-seq"], trained["nano-seq+inter"])]
    assert order == sorted(order) and calls.index(cache) < calls.index(trained["nano-word"])


def test_teacher_and_students_are_scored_greedily_and_by_beam_and_timed(workflow):
    calls = workflow(TAUGHT)[2]
    for name in ("teacher", "nano-base-seed1", "nano-pruned5-seed1"):
        for beam in (1, 4):
            found = f"translate beam {beam} data/en-de runs/toy/en-de/{name}/average.pt test"
            assert found in calls
    timed = {call.split()[2] for call in of(calls, "ikd-record")}
    assert timed == {"runs/toy/en-de/teacher", "runs/toy/en-de/nano-base-seed1"}
    assert [call for call in of(calls, "ikd-record") if call.endswith("--name beam 4, batch 64")]


def test_an_ensemble_teaches_but_is_no_run(workflow, tmp_path):
    (tmp_path / "other.pt").touch()
    calls = workflow(TAUGHT.replace("teacher.pt", "teacher.pt:other.pt"))[2]
    assert "--teacher-path teacher.pt:other.pt" in of(calls, "ikd-distil-data")[0]
    assert not [call for call in calls if "en-de/teacher" in call]


def test_another_teacher_or_start_makes_other_students(workflow, tmp_path):
    workflow(TAUGHT, "discard=1")
    longer = TAUGHT.replace("updates: 7,", "updates: 9,")
    status = workflow(longer)[0]
    assert "nano-base-seed1 (updates)" in status and "nano-seq+inter-seed1 (start)" in status
    (tmp_path / "teacher.pt").write_text("another")
    status = workflow(TAUGHT)[0]
    assert "nano-seq-seed1 (teacher)" in status and "nano-base" not in status


# ---- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plan, config, sentence",
    [
        (PLAN.replace("text,", "txet,"), [], "toy.yaml, systems, entry 1: system txet is none of"),
        (PLAN, ["updates=5"], "--config does not know updates: it takes plan, data, out"),
        (PLAN, ["gpus=many"], "gpus=many is no number of GPUs"),
        (PLAN, ["gpus=1", "share=0"], "share=0 is no number of runs on one GPU"),
        (PLAN, ["gpus=2", "share=3"], "share=3 is for runs of one GPU, and gpus=2"),
        (PLAN, ["data=nowhere"], "nowhere/en-de holds no en-de that prepare.sh made"),
        (PLAN + "pairs: en-fr\n", [], "data/en-fr holds no en-fr that prepare.sh made"),
        (
            PLAN.replace("--distance", "--distanse"),
            [],
            "toy.yaml, kl: fairseq-train does not take its options",
        ),
        (PLAN + "table: systms\n", [], "toy.yaml: table systms is none of: systems variants"),
        (PLAN.replace("test1]", "test9]"), [], "tests test9, but data/en-de has no such split"),
        (PLAN + "texts: [original, colour]\n", [], "masks words of the original text: give folder=FOLDER"),
        (PLAN + "texts: [original, colour]\n", ["folder=data"], "folder=data has no text/"),
        (TAUGHT.replace("teacher.pt", "none.pt"), [], "there is no checkpoint none.pt"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence_before_anything_starts(
    workflow, tmp_path, plan, config, sentence
):
    status, _, calls = workflow(plan, *config)
    assert (
        str(status).startswith("Snakefile: error: ") and sentence in str(status) and "\n" not in str(status)
    )
    assert not calls and not (tmp_path / "runs").exists()


def test_systems_without_the_images_that_they_need_are_refused(workflow, tmp_path):
    plan = PLAN.replace("[text,", "[image-must,")
    write_data(tmp_path / "sparse", images=["train"])
    assert "which image-must needs: leave it out" in workflow(plan, "data=sparse")[0]
    write_data(tmp_path / "bare", images=[])
    assert "is missing, and kl needs images" in workflow(PLAN, "data=bare")[0]


# ---- plans that are shipped --------------------------------------------------------------------------------


SHIPPED = [
    ("table1", [], {"index_images": 4, "train": 60, "average": 60, "translate": 132}),
    ("table2", [], {"train": 45, "average": 45, "translate": 180}),
    ("table5", [], {"train": 6, "average": 6, "translate": 18}),
    ("hallucination", [], {"extract_features": 1, "train": 15, "average": 15, "translate": 15}),
    ("learning", [], {"train": 51, "average": 51, "translate": 51}),
    ("regularisers", [], {"train": 5, "average": 5, "translate": 5}),
    ("nano", [], {"index_images": 2, "extract_features": 2, "train": 22, "average": 22}),
    ("nano8", [], {"index_images": 2, "extract_features": 2, "train": 33, "average": 33}),
    ("coverage", [], {"extract_features": 2, "train": 24, "average": 24}),
    ("converged", [], {"train": 12, "average": 12}),
    ("converged-rivals", [], {"index_images": 1, "train": 6, "average": 6}),
    ("released", [], {"train": 30, "average": 30}),
    ("table6", ["folder=folder"], {"mask": 2, "prepare_masked": 2, "train": 27, "translate": 63}),
    (
        "kim-rush",
        [],
        {"distil_best": 1, "distil_closest": 1, "cache_teacher": 3, "train": 23, "prune": 5, "pack": 5}
        | {"copy_teacher": 1, "translate": 48, "time": 12},
    ),
]


def test_every_plan_is_tried():
    assert {name for name, _, _ in SHIPPED} == {plan.stem for plan in PLANS}


@pytest.mark.parametrize("name, config, expected", SHIPPED)
def test_plans_that_are_shipped_are_the_tables_of_the_papers(workflow, tmp_path, name, config, expected):
    write_data(tmp_path / "data", pairs=["en-de", "en-fr"])
    (tmp_path / "folder" / "text").mkdir(parents=True)
    (tmp_path / "runs" / "ikd").mkdir(parents=True)
    (tmp_path / "runs" / "ikd" / "average.pt").touch()
    status, output, calls = workflow(RECIPES / "plans" / f"{name}.yaml", *config, options=["--dry-run"])
    assert status in (0, None) and not calls, output
    found = jobs(output)
    assert {**found, **expected, "table": 1, "all": 1} == found
