"""Each image-must comparison system from fairseq-train to fairseq-generate.

Training runs as a command; the translations run in this process, which saves loading PyTorch for each of
them.
"""

import shutil
from types import SimpleNamespace

import pytest
from fairseq import options
from fairseq_cli import generate as fairseq_generate

from ikd_fairseq.errors import IkdError
from tests.integration.command_line import MODEL, OPTIMIZER, TASK, arguments, run, translations

SYSTEMS = ["gated_fusion", "doubly_attentive_transformer", "selective_attention_transformer"]


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request, toy_data, tmp_path_factory) -> SimpleNamespace:
    """A system after four epochs, with what training printed."""
    folder = tmp_path_factory.mktemp(request.param)
    log = run(
        "fairseq_cli.train",
        [str(toy_data)],
        TASK,
        f"--arch {request.param}_tiny {MODEL}",
        OPTIMIZER,
        "--criterion label_smoothed_cross_entropy --label-smoothing 0.1",
        "--backbone efficientnet_lite0 --image-size 64",
        f"--max-tokens 200 --max-epoch 4 --seed 3 --save-dir {folder} --no-epoch-checkpoints",
    )
    checkpoint = folder / "checkpoint_last.pt"
    return SimpleNamespace(name=request.param, log=log, checkpoint=checkpoint, data=toy_data)


@pytest.fixture
def generate(system, capsys):
    """Translates the test split of *data* with the trained system; returns the hypotheses by sentence."""

    def translate(data, *given):
        decoding = f"--path {system.checkpoint} --beam 3 --max-len-b 15 --num-workers 0 --cpu"
        line = arguments([str(data)], TASK, decoding, *given)
        capsys.readouterr()
        fairseq_generate.main(options.parse_args_and_arch(options.get_generation_parser(), line))
        return translations(capsys.readouterr().out)

    return translate


def test_trains_and_translates_in_batch_and_alone_and_asks_for_its_images(system, generate, tmp_path):
    if system.name != "doubly_attentive_transformer":
        assert '"train_gate"' in system.log and '"valid_gate"' in system.log
    in_batch = generate(system.data, "--batch-size 16")
    assert sorted(in_batch) == list(range(39))
    assert generate(system.data, "--batch-size 1") == in_batch

    text_only = shutil.copytree(system.data, tmp_path / "text", ignore=shutil.ignore_patterns("*.images.*"))
    with pytest.raises(IkdError, match=r"test\.images\.npy is missing.*--image-free"):
        generate(text_only)
    text_path = generate(text_only, "--image-free")
    assert sorted(text_path) == list(range(39))
    without_image = [number for number in range(39) if number % 3]  # of the toy data's test split
    assert all(text_path[number] == in_batch[number] for number in without_image)
