"""Features of a width and number that no CNN here has: trained on, recorded, decoded, or refused."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq import options
from fairseq_cli import generate as fairseq_generate

from ikd_fairseq.data.feature_import import import_features
from ikd_fairseq.data.image_pack import ImagePack
from ikd_fairseq.errors import IkdError
from ikd_fairseq.experiments.scoring import score_output
from ikd_fairseq.experiments.training_facts import data_facts
from tests.integration.command_line import MODEL, OPTIMIZER, TASK, arguments, run, translations

IMAGE_MUST = "--criterion label_smoothed_cross_entropy"
LEARNING = "--criterion auxiliary_losses"
SYSTEMS = {
    "multimodal_transformer": IMAGE_MUST,
    "imagination_transformer": LEARNING,
    "hallucination_transformer": f"{LEARNING} --hallucination-layers 1 --feature-warmup-updates 1",
}


@pytest.fixture(scope="module")
def data(toy_data, tmp_path_factory):
    """The toy data with features ``patches`` of 5 x 24 and ``others`` of 5 x 8, and without images."""
    folder = shutil.copytree(toy_data, tmp_path_factory.mktemp("features") / "data")
    for split in ("train", "valid", "test"):
        images = ImagePack.open(f"{folder}/{split}").manifest["images"]
        for name, width in (("patches", 24), ("others", 8)):
            array = np.random.default_rng(1).standard_normal((images, 5, width)).astype(np.float32)
            np.save(folder / "published.npy", array)
            import_features(str(folder), split, str(folder / "published.npy"), name, "images")
        (folder / f"{split}.images.npy").unlink()  # features need the index alone
    return folder


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request, data, tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp(request.param)
    run(
        "fairseq_cli.train",
        [str(data)],
        TASK,
        f"--arch {request.param}_tiny {MODEL} {SYSTEMS[request.param]} --image-features patches",
        OPTIMIZER,
        f"--label-smoothing 0.1 --max-tokens 200 --max-update 3 --save-dir {folder} --no-epoch-checkpoints",
    )
    return SimpleNamespace(name=request.param, checkpoint=folder / "checkpoint_last.pt")


def test_runs_on_features_alone_are_recorded_and_scored_by_group(data, tmp_path):
    (tmp_path / "generate-test.txt").write_text(
        "".join(f"H-{place}\t-1.0\tein ball\n" for place in range(39))
    )
    (data / "reference").mkdir()
    (data / "reference" / "test.de").write_text("ein ball\n" * 39)
    scores = score_output(tmp_path / "generate-test.txt", data, "test", target="de", metrics=["bleu"])
    pictured = data_facts(data)["splits"]["test"]["sentences_with_image"]
    assert 0 < pictured < 39 and [score.sentences.count for score in scores] == [39, pictured]


def test_features_of_any_width_train_and_the_checkpoint_knows_it(system, data, capsys):
    recorded = torch.load(system.checkpoint, weights_only=False)["cfg"]["model"]
    assert (recorded["feature_channels"], recorded["feature_regions"]) == (24, 5)

    def generate(*given):
        line = f"--path {system.checkpoint} --beam 2 --max-len-b 10 --num-workers 0 --cpu"
        capsys.readouterr()
        parsed = options.parse_args_and_arch(
            options.get_generation_parser(), arguments([str(data)], TASK, line, *given)
        )
        fairseq_generate.main(parsed)
        return translations(capsys.readouterr().out)

    looks = SYSTEMS[system.name] == IMAGE_MUST
    found = generate("--image-features patches" if looks else "--image-free")
    assert sorted(found) == list(range(39))
    if looks:
        assert generate() == found  # as it was trained
        with pytest.raises(IkdError, match=r"others\.npy has 8 channels, but the model was built for 24"):
            generate("--image-features others")
