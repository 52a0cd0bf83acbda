"""Two kills of every writing command, one full disk and one race; ``python -m tests.faults`` does more."""

import pytest

from tests.faults import interruptions
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


def test_a_kill_that_comes_after_the_end_is_drawn_again(bench, tmp_path, monkeypatch):
    """A command that ends twice before it is killed, and lives shorter than was measured at first."""
    judged, asked = [], []

    class Process:
        def runs_after(self, seconds: float) -> bool:
            asked.append(seconds)
            return len(asked) == 3

        def kill(self) -> None: ...

    monkeypatch.setattr(interruptions, "start", lambda command, folder: Process())
    monkeypatch.setattr(interruptions, "must", lambda command, folder: (folder / "table.md").touch())
    monkeypatch.setattr(Trials, "_judge", lambda self, folder, older: judged.append(older))
    trials = Trials(WRITERS["table"], bench, tmp_path / "bench", seed=1)
    trials.seconds = 1000.0
    trials.kill()
    assert len(judged) == 1 and max(asked[1:]) < 1.0
    asked[:] = [0.0] * 3  # from here on it always ends first
    with pytest.raises(AssertionError, match="table ended before each of 20 kills"):
        trials.kill()
    assert len(judged) == 1
