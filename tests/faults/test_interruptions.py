"""Two kills of every writing command, one full disk and one race; ``python -m tests.faults`` does more."""

import pytest

from tests.faults.interruptions import WAYS, WRITERS, Trials
from tests.integration.command_line import warm_process

SLOW = {
    "export to huggingface",
    "export to ctranslate2",
}  # to load transformers takes most of a minute of them


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in SLOW])
def test_interrupted_writer_harms_nothing(name, bench, tmp_path):
    if name == "export to onnx":
        for package in ("onnx", "onnxruntime"):
            pytest.importorskip(package, reason=f"the extra `serving` is not installed ({package})")
    warm_process()  # else the first duration is that of starting it
    trials = Trials(WRITERS[name], bench, tmp_path / "bench", seed=1)
    for way in ("killed", "killed", "disk full", "two at once"):
        WAYS[way](trials)
    assert not trials.notes, "\n".join(trials.notes)
    assert trials.counts.trials == 4
