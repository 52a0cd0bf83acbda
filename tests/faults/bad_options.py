"""Options that are contradictory, out of range or impossible on a machine without a GPU."""

from collections.abc import Iterator
from pathlib import Path

from tests.faults.judge import BadInput
from tests.faults.workbench import (
    CACHE,
    DISTIL,
    EXPORT,
    EXTRACT,
    PACK,
    PRUNE,
    QUICK,
    SCORE,
    TOPIC,
    ours,
    train,
    translate,
)

# (system, options, what the sentence names)
TRAINING = [
    ("ikd", "--kd-weight -1", "kd-weight"),
    ("ikd", "--kd-weight nan", "kd-weight"),
    ("ikd", "--image-weight -0.5", "image-weight"),
    ("ikd", "--kd-images-per-batch -2", "kd-images-per-batch"),
    ("ikd", "--image-size 0", "image-size"),
    ("ikd", "--image-size 20", "image-size|image_size"),
    ("ikd", "--image-size 96", "image-size|64"),
    ("ikd", "--backbone resnet9", "backbone"),
    ("ikd", "--teacher-weights {w}/nothing.pth", "nothing.pth"),
    ("ikd", "--teacher-weights {w}/train.en", "train.en"),
    ("ikd", "--granularity nothing", "granularity"),
    ("ikd", "--image-features nothing", "features"),
    ("ikd", "--unpool sideways", "unpool"),
    ("ikd", "--no-student", "student"),
    ("ikd", "--adaptive-softmax-cutoff 5,10", "adaptive-softmax"),
    ("ikd", "--label-smoothing 1.5", "label-smoothing|label_smoothing"),
    ("ikd", "--label-smoothing -0.1", "label-smoothing|label_smoothing"),
    ("ikd", "--dropout 2", "dropout"),
    ("ikd", "--encoder-embed-dim 15", "embed|heads"),
    ("ikd", "--encoder-layers 0", "encoder-layers|layers"),
    ("ikd", "--source-lang xx", "xx"),
    ("ikd", "--source-lang en --target-lang en", "en"),
    ("ikd", "--train-subset nothing", "nothing"),
    ("ikd", "--fp16", "fp16"),
    ("ikd", "--bf16", "bf16"),
    ("ikd", "--amp", "amp"),
    ("ikd", "--memory-efficient-fp16", "fp16"),
    ("ikd", "--lr 1e30 --max-update 4", "update"),
    ("ikd", "--restore-file {w}/nothing.pt", "nothing.pt"),
    ("ikd", "--finetune-from-model {w}/nothing.pt", "nothing.pt"),
    ("ikd", "--finetune-from-model {w}/text.pt", "text.pt"),
    ("ikd", "--restore-file {w}/text.pt", "text.pt"),
    ("ikd", "--init-from {w}/nothing.pt", "nothing.pt"),
    ("ikd", "--batch-size -3", "batch-size"),
    ("ikd", "--max-tokens 0", "max-tokens|max_tokens"),
    ("ikd", "--update-freq 0", "update-freq|update_freq"),
    ("text", "--teacher-cache own", "teacher-cache|teacher_cache"),
    ("fused", "--image-features nothing", "nothing"),
    ("fused", "--backbone-weights {w}/nothing.pth", "nothing.pth"),
    ("fused", "--backbone-weights {w}/text.pt", "text.pt"),
    ("fused", "--image-size 96", "image-size|64"),
    ("topic", "--retriever nowhere", "retriever"),
    ("topic", "--retrieved-images 0", "retrieved-images"),
    ("topic", "--image-index {w}/data/image-index.dense.pt", "image-index"),
    ("taught", "--teacher-cache nothing", "nothing"),
    ("taught", "--distillation-alpha 2", "distillation-alpha"),
    ("taught", "--distillation-temperature 0", "distillation-temperature"),
    ("taught", "--teacher-path {w}/nothing.pt", "nothing.pt|teacher"),
]
DECODING = [
    ("text.pt", "--path {w}/nothing.pt", "nothing.pt"),
    ("text.pt", "--path {w}/text.pt:{w}/nothing.pt", "nothing.pt"),
    ("text.pt", "--path {w}/train.en", "train.en"),
    ("text.pt", "--gen-subset nothing", "nothing"),
    ("text.pt", "--source-lang xx", "xx"),
    ("text.pt", "--beam 0", "beam"),
    ("text.pt", "--beam -2", "beam"),
    ("text.pt", "--nbest 5", "nbest"),
    ("fused.pt", "--require-images", "image"),
    ("fused.pt", "--image-free --require-images", "image"),
    ("topic.pt", "--image-index {w}/nothing.pt", "nothing.pt"),
]
COMMANDS = [
    (PACK, "--image-size 0", "image-size"),
    (PACK, "--image-size -4", "image-size"),
    (PACK, "--workers 0", "workers"),
    (PACK, "--split nothing", "nothing"),
    (PACK, "--data {w}/nowhere", "nowhere"),
    (PACK, "--images {w}/nowhere", "nowhere"),
    (PACK, "--images {w}/train.en", "train.en"),
    (EXTRACT, "--backbone resnet9", "backbone"),
    (EXTRACT, "--backbone-weights {w}/train.en", "train.en"),
    (EXTRACT, "--batch-size 0", "batch-size"),
    (EXTRACT, "--split nothing", "nothing"),
    (EXTRACT, "--name a/b", "a/b|name"),
    (EXTRACT, "--from-file {w}/nothing.npy", "nothing.npy|from-file"),
    (TOPIC, "--stop-share 2", "stop-share"),
    (TOPIC, "--topics 0", "topics"),
    (TOPIC, "--split nothing", "nothing"),
    (TOPIC, "--source-lang xx", "xx"),
    (TOPIC, "--output {w}/nowhere/index.pt", "nowhere"),
    (CACHE, "--top-k 0", "top-k"),
    (CACHE, "--top-k 100000", "top-k"),
    (CACHE, "--teacher-path {w}/nothing.pt", "nothing.pt"),
    (CACHE, "--name ../out", "name"),
    (CACHE, "--split nothing", "nothing"),
    (CACHE, "--max-tokens 0", "max-tokens"),
    (DISTIL, "--shards 0", "shards"),
    (DISTIL, "--select nothing", "select"),
    (DISTIL, "--teacher-path {w}/nothing.pt", "nothing.pt"),
    (EXPORT, "{w}/more.pt", "more.pt"),
    (PRUNE, "--sparsity 1.5", "sparsity"),
    (PRUNE, "--sparsity 0", "sparsity"),
    (PRUNE, "--sparsity nan", "sparsity"),
    (PRUNE, "--pack", "pack|sparsity"),
    (SCORE, "--metrics bleurt", "metrics"),
    (SCORE, "--sentences -3", "sentences"),
    (SCORE, "--sentences 7", "sentences|7"),
    (SCORE, "--json {w}/nowhere/score.json", "nowhere"),
    (SCORE, "--generate-output {w}/nothing.txt", "nothing.txt"),
    (ours("prune", "{w}/text.pt {w}/text.pt"), "--sparsity 0.4", "text.pt"),
    (ours("prune", "{w}/text.pt {w}/out.pt"), "--pack", "text.pt"),
    (ours("prune", "{w}/text.pt {w}/out.pt"), "--unpack", "text.pt"),
    (ours("export", "{w}/text.pt {w}/nowhere/out.pt"), "", "nowhere"),
    (ours("export", "{w}/text.pt {w}/images"), "", "images"),
    (ours("average_checkpoints", "{w}/text.pt {w}/ikd.pt --output {w}/average.pt"), "", ".pt"),
    (ours("average_checkpoints", "{w}/images --output {w}/average.pt"), "", "images"),
    (ours("average_checkpoints", "{w}/text.pt {w}/text2.pt --output {w}/text.pt"), "", "text.pt"),
    (ours("average_checkpoints", "{w}/run --last 9 --output {w}/average.pt"), "", "last|run"),
    (ours("table", "{w}/images"), "", "images"),
    (ours("table", "{w}/run --baseline nothing"), "", "nothing"),
    (ours("report", "{w}/images --output {w}/report.html"), "", "images"),
    (ours("report", "{w}/run --output {w}/nowhere/report.html"), "", "nowhere"),
    (ours("record", "train {w}/images --system text"), "", "images"),
    (ours("record", "train {w}/run --system nothing"), "", "nothing"),
]


def _untouched(folder: Path) -> None:
    """Nothing is wrong with the files."""


def bad_options(folder: Path) -> Iterator[BadInput]:
    for system, more, culprit in TRAINING:
        yield BadInput("options", f"{system}: {more}", _untouched, train(system, f"{QUICK} {more}"), culprit)
    for checkpoint, more, culprit in DECODING:
        yield BadInput("options", f"{checkpoint}: {more}", _untouched, translate(checkpoint, more), culprit)
    for (module, line), more, culprit in COMMANDS:
        command = (module, f"{line} {more}")
        name = module.removesuffix(":main").rpartition(".")[2]
        yield BadInput("options", f"{name} {more or line}", _untouched, command, culprit)
