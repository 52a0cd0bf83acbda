"""A small text-only model of subwords, in every format that it is exported to, beside fairseq-generate."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from subword_nmt.apply_bpe import BPE
from subword_nmt.learn_bpe import learn_bpe

from ikd_fairseq.models.text_baseline import TextTransformerModel
from ikd_fairseq.serving.translator import SentenceTranslator
from tests.integration.command_line import (
    CHECKOUT,
    ENVIRONMENT,
    MODEL,
    OPTIMIZER,
    TASK,
    WIDTH,
    hypotheses,
    run,
    translations,
)
from tests.integration.conftest import made_once, write_split

TEXT = (
    f"--arch transformer_mmt_tiny {MODEL} {WIDTH} --dropout 0 --criterion translation --label-smoothing 0.1"
)
EXPORT, TRANSLATE = "ikd_fairseq.cli.export:main", "ikd_fairseq.cli.translate:main"
SPLITS = {"train": 200, "valid": 13, "test": 39}


def make(folder: Path) -> None:
    """Text in subwords, a model after some epochs, and its export."""
    for seed, (split, count) in enumerate(SPLITS.items()):
        write_split(folder, split, count, (), seed)
    codes = io.StringIO()
    words = "".join((folder / f"train.{side}").read_text(encoding="utf-8") for side in ("en", "de"))
    learn_bpe(io.StringIO(words), codes, 40)
    (folder / "code").write_text(codes.getvalue(), encoding="utf-8")
    bpe = BPE(codes)
    for split in SPLITS:
        for side in ("en", "de"):
            lines = (folder / f"{split}.{side}").read_text(encoding="utf-8").splitlines()
            split_lines = "".join(f"{bpe.process_line(line)}\n" for line in lines)
            (folder / f"{split}.bpe.{side}").write_text(split_lines, encoding="utf-8")
    prefixes = [f"--{split}pref {folder / split}.bpe" for split in SPLITS]
    data = folder / "data"
    run(
        "fairseq_cli.preprocess",
        "-s en -t de --joined-dictionary --workers 1",
        f"--destdir {data}",
        *prefixes,
    )
    shutil.copy(folder / "code", data)
    limits = "--max-tokens 300 --max-epoch 40 --seed 2 --no-epoch-checkpoints --warmup-updates 50"
    run("fairseq_cli.train", [str(data)], TASK, TEXT, OPTIMIZER, limits, f"--save-dir {folder}")
    run(EXPORT, f"{folder / 'checkpoint_last.pt'} {folder / 'model.pt'}")
    log = run(
        "fairseq_cli.generate",
        [str(data)],
        TASK,
        f"--path {folder / 'checkpoint_last.pt'} --beam 5 --nbest 2 --cpu --remove-bpe --batch-size 7",
    )
    (folder / "generate.txt").write_text(log, encoding="utf-8")


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> SimpleNamespace:
    """Folder, export, and by sentence what fairseq-generate made of it: ``(score, text)`` twice."""
    folder = made_once(tmp_path_factory, "served", make)
    expected = hypotheses((folder / "generate.txt").read_text(encoding="utf-8"))
    assert len({text for (_, text), _ in expected.values()}) > 10  # it has learnt to tell sentences apart
    return SimpleNamespace(
        folder=folder, file=folder / "model.pt", text=folder / "test.en", expected=expected
    )


def best(model) -> list[str]:
    return [model.expected[number][0][1] for number in range(len(model.expected))]


def refused(command: str, *parts) -> str:
    output = run(command, *parts, fails=True)
    assert "Traceback" not in output, output[-3000:]
    return output.splitlines()[-1]


# ---------------------------------------------------------------- ikd-translate


def test_plain_sentences_are_translated_as_fairseq_generate_does(model, tmp_path):
    lines = model.text.read_text(encoding="utf-8").splitlines()
    text = [f"  {line.upper()} " for line in lines]
    text[3:3] = ["", "   "]
    (tmp_path / "a.txt").write_text("\n".join(text[:20]) + "\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n".join(text[20:]), encoding="utf-8")  # no newline at its end
    output = tmp_path / "out.txt"
    run(TRANSLATE, f"{model.file} --cpu {tmp_path / 'a.txt'} --output {output} {tmp_path / 'b.txt'}")
    wanted = best(model)
    assert output.read_text(encoding="utf-8").split("\n") == [*wanted[:3], "", "", *wanted[3:], ""]


def test_fairseqs_own_ways_to_plain_sentences_find_the_merges(model):
    data, file = model.folder / "data", model.folder / "checkpoint_last.pt"
    hub = TextTransformerModel.from_pretrained(
        str(model.folder), file.name, data_name_or_path=str(data), bpe="subword_nmt"
    )
    lines = model.text.read_text(encoding="utf-8").splitlines()
    assert hub.translate(lines, beam=5) == best(model)
    merges = f"--bpe subword_nmt --bpe-codes {data / 'code'} --input {model.text}"
    batches = f"--path {file} --beam 5 --cpu --batch-size 7 --buffer-size 64"
    output = run("fairseq_cli.interactive", [str(data)], TASK, batches, merges)
    assert translations(output, "D") == dict(enumerate(best(model)))


def answers(output, sentences):
    """The translations of each sentence that ``--nbest`` wrote as JSON."""
    lines = output.read_text(encoding="utf-8").splitlines()
    assert len(lines) == sentences
    return [json.loads(line)["translations"] for line in lines]


def test_several_translations_come_with_their_scores_as_json(model, tmp_path):
    output = tmp_path / "out.jsonl"
    run(
        TRANSLATE,
        f"{model.file} {model.text} --cpu --nbest 2 --buffer-size 10 --batch-size 3 --output {output}",
    )
    for number, several in enumerate(answers(output, len(model.expected))):
        found = [(one["score"], one["text"]) for one in several]
        assert [text for _, text in found] == [text for _, text in model.expected[number]]
        in_base_2 = [score / 0.6931471805599453 for score, _ in found]
        assert in_base_2 == pytest.approx([score for score, _ in model.expected[number]], abs=1e-3)


def test_the_export_needs_no_file_beside_it_and_a_checkpoint_its_data(model, tmp_path):
    state = torch.load(model.folder / "checkpoint_last.pt", weights_only=False)
    state["cfg"]["task"]["data"] = str(tmp_path / "gone")
    torch.save(state, tmp_path / "bare.pt")
    assert "give the data folder that the model was trained on with --data" in refused(
        TRANSLATE, f"{tmp_path / 'bare.pt'} {model.text} --cpu"
    )
    shutil.copy(model.file, tmp_path / "moved.pt")
    translator = SentenceTranslator.load(tmp_path / "moved.pt", cpu=True)
    lines = model.text.read_text(encoding="utf-8").splitlines()
    assert [found[0].text for found in translator.translate(lines)] == best(model)
    shutil.copytree(model.folder / "data", tmp_path / "data")
    with_data = SentenceTranslator.load(tmp_path / "bare.pt", cpu=True, data=str(tmp_path / "data"))
    assert with_data.engine.facts == translator.engine.facts
    (tmp_path / "data" / "code").unlink()
    assert "its BPE merges are missing" in refused(
        TRANSLATE, f"{tmp_path / 'bare.pt'} {model.text} --cpu --data {tmp_path / 'data'}"
    )
    assert translator.translate([]) == [] and translator.translate(["", " "]) == [[], []]


def test_an_image_free_system_of_whole_words_is_translated_with_too(trained, tmp_path):
    log = run("fairseq_cli.generate", [str(trained.data)], TASK, f"--path {trained.last} --beam 3 --cpu")
    run(EXPORT, f"{trained.last} {tmp_path / 'model.pt'}")
    text, output = trained.data.parent / "test.en", tmp_path / "out.txt"
    run(TRANSLATE, f"{tmp_path / 'model.pt'} {text} --cpu --beam 3 --output {output}")
    wanted = translations(log)
    assert output.read_text(encoding="utf-8").splitlines() == [wanted[number] for number in range(39)]


def test_input_that_cannot_be_translated_is_refused_and_no_output_is_left(model, tmp_path):
    (tmp_path / "bytes.txt").write_bytes(b"red ball\n\xff\xfe\n")
    (tmp_path / "long.txt").write_text("red ball\n" + "red " * 1100 + "\n")
    output = tmp_path / "out.txt"
    for name, message in (("bytes.txt", "line 2: not UTF-8"), ("long.txt", "sentence 2 has 1,100 subwords")):
        assert message in refused(TRANSLATE, f"{model.file} {tmp_path / name} --cpu --output {output}")
    assert "this model translates without images" in refused(
        TRANSLATE, f"{model.file} {model.text} --cpu --images {tmp_path} --list {model.text}"
    )
    assert not output.exists()


def test_an_image_must_model_takes_images_or_does_without(toy_data, image_must, tmp_path):
    model = tmp_path / "model.pt"
    run(EXPORT, f"{image_must} {model}")
    text, images = toy_data.parent / "test.en", toy_data.parent / "images"
    names = toy_data.parent / "test.images.txt"
    for options, generate in ((f"--images {images} --list {names}", ""), ("--image-free", "--image-free")):
        log = run(
            "fairseq_cli.generate",
            [str(toy_data)],
            TASK,
            f"--path {model} --beam 5 --cpu {generate}",
        )
        output = tmp_path / "out.txt"
        run(TRANSLATE, f"{model} {text} --cpu {options} --output {output} --buffer-size 7")
        wanted = translations(log)
        assert output.read_text(encoding="utf-8").splitlines() == [wanted[number] for number in range(39)]
    assert "give --images and --list" in refused(TRANSLATE, f"{model} {text} --cpu")
    (tmp_path / "short.txt").write_text("red.png\n\n")
    short = refused(TRANSLATE, f"{model} {text} --cpu --images {images} --list {tmp_path / 'short.txt'}")
    assert "short.txt has 2 lines" in short


# ---------------------------------------------------------------- other formats


@pytest.fixture(scope="session")
def huggingface(model, tmp_path_factory) -> Path:
    for package in ("transformers", "tokenizers", "safetensors"):
        pytest.importorskip(package, reason=f"the extra `serving` is not installed ({package})")

    def export(folder: Path) -> None:
        run(EXPORT, f"{model.file} {folder / 'hf'} --format huggingface --data-licence CC-BY-4.0")

    return made_once(tmp_path_factory, "huggingface", export) / "hf"


def test_transformers_translates_as_fairseq_generate_does(model, huggingface):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(huggingface)
    found = AutoModelForSeq2SeqLM.from_pretrained(huggingface).eval()
    lines = model.text.read_text(encoding="utf-8").splitlines()
    batch = tokenizer(lines, return_tensors="pt", padding=True)  # of all lengths
    with torch.no_grad():
        tokens = found.generate(**batch)
    assert tokenizer.batch_decode(tokens, skip_special_tokens=True) == best(model)
    files = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"}
    assert files < set(os.listdir(huggingface))
    card = (huggingface / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlanguage:\n- en\n- de\n") and "training data: CC-BY-4.0." in card


def test_a_pruned_model_keeps_its_zeros(model, huggingface, tmp_path):
    from transformers import AutoModelForSeq2SeqLM

    run("ikd_fairseq.cli.prune:main", f"{model.file} {tmp_path / 'pruned.pt'} --sparsity 0.5")
    run(EXPORT, f"{tmp_path / 'pruned.pt'} {tmp_path / 'hf'} --format huggingface")
    found = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "hf").model.encoder.layers[0].fc1.weight
    pruned = torch.load(tmp_path / "pruned.pt", weights_only=True)["model"]["encoder.layers.0.fc1.weight"]
    assert torch.equal(found, pruned) and 0.2 < found.eq(0).float().mean() < 0.9


def test_its_tokenizer_finds_the_subwords_of_subword_nmt(model, huggingface):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(huggingface)
    pipeline = SentenceTranslator.load(model.file, cpu=True)
    words = pipeline.engine.task.source_dictionary
    lines = [
        line for side in ("en", "de") for line in (model.folder / f"train.{side}").read_text().splitlines()
    ]
    lines += [
        "blau blub blue-red Red x",
        "\u017fßé 日本 a\u0301 rot",
        "</s> <unk> <pad> @@ @@@ a@@",
        "g r ü n",
    ]
    behind = 0
    for line in lines:
        subwords = pipeline.pipeline._bpe.process_line(line.lower())
        expected = words.encode_line(subwords, add_if_not_exist=False).tolist()
        found = tokenizer(line)["input_ids"]
        behind += sum(token >= len(words) for token in found)
        assert [min(token, len(words)) if token < len(words) else words.unk() for token in found] == expected
    assert behind  # subwords of merges that are in no training sentence


@pytest.fixture(scope="session")
def ctranslate2_folder(model, tmp_path_factory) -> Path:
    for package in ("ctranslate2", "transformers"):
        pytest.importorskip(package, reason=f"the extra `serving` is not installed ({package})")

    def export(folder: Path) -> None:
        run(EXPORT, f"{model.file} {folder / 'float32'} --format ctranslate2")
        run(EXPORT, f"{model.file} {folder / 'int8'} --format ctranslate2 --quantization int8")

    return made_once(tmp_path_factory, "ctranslate2", export)


_LIGHT = """
import sys
from ikd_fairseq.cli.translate import main
assert main(sys.argv[1:]) is None
heavy = {"torch", "fairseq", "transformers", "PIL"} & set(sys.modules)
assert not heavy, heavy
"""


def test_ctranslate2_translates_as_fairseq_generate_does_without_its_libraries(
    model, ctranslate2_folder, tmp_path
):
    output = tmp_path / "out.jsonl"
    options = ["--cpu", "--nbest", "2", "--batch-size", "7", "--output", str(output)]
    command = [sys.executable, "-c", _LIGHT, str(ctranslate2_folder / "float32"), str(model.text), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr[-3000:]
    for number, found in enumerate(answers(output, len(model.expected))):
        score, text = model.expected[number][0]
        assert found[0]["text"] == text and len(found) == 2
        # CTranslate2 makes the probabilities of the first subword sum to 1 without that of an end at once.
        assert found[0]["score"] / 0.6931471805599453 == pytest.approx(score, abs=0.01)


def test_int8_is_smaller_and_translates_about_the_same(model, ctranslate2_folder):
    sizes = [(ctranslate2_folder / name / "model.bin").stat().st_size for name in ("float32", "int8")]
    positions = 4 * 64 * 1026  # which stay as they are
    assert sizes[1] - positions < 0.4 * (sizes[0] - positions)
    translator = SentenceTranslator.load(ctranslate2_folder / "int8", cpu=True)
    lines = model.text.read_text(encoding="utf-8").splitlines()
    found = [one[0].text for one in translator.translate(["", *lines])[1:]]
    assert sum(one == other for one, other in zip(found, best(model))) > 20


def test_what_a_format_cannot_express_is_refused_and_leaves_no_folder(model, trained, tmp_path):
    pytest.importorskip("transformers", reason="the extra `serving` is not installed (transformers)")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    before = sorted(os.listdir(tmp_path))
    refusals = [
        (trained.last, "new", "is no text-only Transformer", ""),
        (model.file, "full", "is not empty", ""),
        (model.file, "full/file", "is a file", ""),
        (model.file, "no/new", "does not exist", ""),
        (model.file, "new", "for --format ctranslate2", "--quantization int8"),
    ]
    for checkpoint, output, message, options in refusals:
        line = refused(EXPORT, f"{checkpoint} {tmp_path / output} --format huggingface {options}")
        assert message in line
    assert sorted(os.listdir(tmp_path)) == before
    assert "holds no ikd_text.json" in refused(TRANSLATE, f"{tmp_path} {model.text}")


@pytest.mark.parametrize("system", ["text", "ikd"])
def test_onnx_translates_as_fairseq_generate_does(model, trained, tmp_path, system):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason=f"the extra `serving` is not installed ({package})")
    if system == "text":
        data, file, text, expected = model.folder / "data", model.file, model.text, model.expected
    else:
        data, file, text = trained.data, trained.last, trained.data.parent / "test.en"
        search = f"--path {file} --beam 5 --nbest 2 --cpu"
        expected = hypotheses(run("fairseq_cli.generate", [str(data)], TASK, search))
    folder, output = tmp_path / "onnx", tmp_path / "out.jsonl"
    run(EXPORT, f"{file} {folder} --format onnx --data {data}")
    options = ["--nbest", "2", "--batch-size", "7", "--output", str(output)]
    command = [sys.executable, "-c", _LIGHT, str(folder), str(text), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr[-3000:]
    for number, found in enumerate(answers(output, len(expected))):
        assert [one["text"] for one in found] == [words for _, words in expected[number]]
        in_base_2 = [one["score"] / 0.6931471805599453 for one in found]
        assert in_base_2 == pytest.approx([score for score, _ in expected[number]], abs=1e-3)
    shutil.copy(folder / "encoder.onnx", folder / "decoder.onnx")  # it has no keys of the past, as once
    assert "is of an earlier version: export the model again" in refused(TRANSLATE, f"{folder} {text}")


@pytest.mark.parametrize("kind", ["onnx", "ctranslate2"])
def test_translations_end_where_the_decoder_has_no_more_positions(model, tmp_path, kind):
    for package in {"onnx": ("onnx", "onnxruntime"), "ctranslate2": ("ctranslate2", "transformers")}[kind]:
        pytest.importorskip(package, reason=f"the extra `serving` is not installed ({package})")
    state = torch.load(model.file, weights_only=True)
    state["cfg"]["model"]["max_target_positions"] = 6  # far fewer than the longest sentence has subwords
    torch.save(state, tmp_path / "short.pt")
    run(EXPORT, f"{tmp_path / 'short.pt'} {tmp_path / kind} --format {kind}")
    lines = model.text.read_text(encoding="utf-8").splitlines()
    found = {
        name: [one for one, *_ in SentenceTranslator.load(tmp_path / name, cpu=True).translate(lines)]
        for name in (kind, "short.pt")
    }
    lengths = [len(one.text.split()) for one in found[kind]]
    assert 0 < max(lengths) <= 5 < max(len(text.split()) for text in best(model))
    if kind == "onnx":  # CTranslate2 does not count the probability of an end that it forces
        assert [one.text for one in found[kind]] == [one.text for one in found["short.pt"]]
        scores = [[one.score for one in every] for every in found.values()]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)
