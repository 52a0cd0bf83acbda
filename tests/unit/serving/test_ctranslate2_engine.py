"""A GPU that CTranslate2 cannot use after all."""

import sys
from types import SimpleNamespace

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.serving.ctranslate2_engine import CTranslate2Engine
from ikd_fairseq.serving.folder import Limits, write_facts
from ikd_fairseq.serving.text import TextFacts


class Translator:
    """A stand-in that fails on a GPU as the real one does without cuBLAS: when it translates."""

    def __init__(self, folder, device, intra_threads):
        if "damaged" in folder:
            raise RuntimeError("no model")
        self.device = device

    def translate_batch(self, tokens, max_decoding_length):
        if self.device == "cuda":
            raise RuntimeError("Library libcublas.so.12 is not found")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    stand_in = SimpleNamespace(Translator=Translator, get_cuda_device_count=lambda: 1)
    monkeypatch.setitem(sys.modules, "ctranslate2", stand_in)
    for name in ("model", "damaged"):
        (tmp_path / name).mkdir()
        write_facts(str(tmp_path / name), TextFacts("en", "de", ("a",), ("a",), True), Limits(511, 29))
    return tmp_path


def test_the_cpu_translates_where_the_gpus_libraries_are_missing(folder, caplog):
    engine = CTranslate2Engine(str(folder / "model"))
    assert engine._translator.device == "cpu"
    assert "cannot use the GPU (Library libcublas.so.12 is not found)" in caplog.text


def test_a_damaged_folder_is_refused_on_either(folder):
    for cpu in (False, True):
        with pytest.raises(IkdError, match="damaged is damaged .no model.: export the model again"):
            CTranslate2Engine(str(folder / "damaged"), cpu=cpu)
