"""docs/new-system.md, done: its blocks go into a copy of the package, which trains and decodes the system."""

import re
import shutil
from pathlib import Path

import pytest

from tests.integration.command_line import CHECKOUT, MODEL, OPTIMIZER, run, translations

BLOCK = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REGISTRY = "ikd_fairseq/experiments/systems.py"
SYSTEM = "mean-image"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A folder with a copy of the package to which the page's system was added."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(CHECKOUT / "ikd_fairseq", folder / "ikd_fairseq")
    blocks = dict(BLOCK.findall((CHECKOUT / "docs" / "new-system.md").read_text(encoding="utf-8")))
    entry = blocks.pop(REGISTRY)
    registry = folder / REGISTRY
    before, start, others = registry.read_text(encoding="utf-8").partition("= _registry(\n")
    registry.write_text(before + start + entry + others, encoding="utf-8")
    for name, text in blocks.items():  # a new file, or lines at the end of one
        with (folder / name).open("a", encoding="utf-8") as stream:
            stream.write(text)
    return folder


def test_a_model_file_and_an_entry_make_a_system_that_trains_and_decodes(checkout, toy_data, tmp_path):
    options = run("ikd_fairseq.cli.systems:main", SYSTEM, checkout=checkout).split()
    assert options[:2] == ["--arch", "mean_image_tiny"]

    task = f"--user-dir {checkout / 'ikd_fairseq'} --task multimodal_translation"
    log = run(
        "fairseq_cli.train",
        [str(toy_data)],
        task,
        options,
        MODEL,
        OPTIMIZER,
        "--label-smoothing 0.1 --backbone efficientnet_lite0 --image-size 64 --max-tokens 200 --max-update 2",
        f"--disable-validation --save-dir {tmp_path}",
        checkout=checkout,
    )
    assert "MeanImageModel" in log and "done training" in log
    decoded = run(
        "fairseq_cli.generate",
        [str(toy_data)],
        task,
        f"--path {tmp_path / 'checkpoint_last.pt'} --gen-subset test --beam 2 --max-len-b 10 --cpu",
        "--required-batch-size-multiple 1 --num-workers 0",
        checkout=checkout,
    )
    assert sorted(translations(decoded)) == list(range(39))
