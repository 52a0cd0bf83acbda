"""A teacher must speak the student's languages, in the student's words."""

from argparse import Namespace

import pytest
import torch

from ikd_fairseq.distillation.teacher_models import check_teacher
from ikd_fairseq.errors import IkdError
from tests import toy


@pytest.fixture
def data(tmp_path):
    """A data folder with the dictionaries of en and de."""
    folder = tmp_path / "data"
    folder.mkdir()
    for language in ("en", "de"):
        toy.dictionary().save(str(folder / f"dict.{language}.txt"))
    return folder


WORDS = toy.dictionary()


def checkpoint(path, data, encoder=WORDS, decoder=WORDS, **settings):
    task = {"_name": "multimodal_translation", "data": str(data), "source_lang": "en", "target_lang": "de"}
    tables = {"encoder": encoder, "decoder": decoder}
    model = {
        f"{part}.embed_tokens.weight": torch.zeros(len(tables[part]), 2) for part in tables if tables[part]
    }
    state = {"optimizer_history": [{"num_updates": 1}], "extra_state": {}}
    torch.save({"args": None, "cfg": {"task": {**task, **settings}}, "model": model, **state}, path)
    return str(path)


def check_here(path):
    check_teacher(path, toy.dictionary(), toy.dictionary(), "en", "de")


def reordered():
    words = toy.dictionary(0)
    for number in reversed(range(20)):
        words.add_symbol(f"w{number}")
    return words


def test_teacher_with_the_same_words_and_languages_is_taken(data, tmp_path):
    check_here(checkpoint(tmp_path / "a.pt", data))
    check_here(checkpoint(tmp_path / "a.pt", f"{data}:/nowhere"))
    check_here(checkpoint(tmp_path / "a.pt", "/moved/away"))
    check_here(checkpoint(tmp_path / "a.pt", data, source_lang=None, target_lang=None))


@pytest.mark.parametrize("side, part, language", [("source", "encoder", "en"), ("target", "decoder", "de")])
def test_another_dictionary_is_refused(data, tmp_path, side, part, language):
    path = checkpoint(tmp_path / "a.pt", data, **{part: toy.dictionary(21)})
    with pytest.raises(
        IkdError, match=f"{path} has a {side} dictionary of 25 words, and the student one of 24"
    ):
        check_here(path)
    path = checkpoint(tmp_path / "a.pt", data)
    reordered().save(str(data / f"dict.{language}.txt"))  # as many words
    with pytest.raises(IkdError, match=rf"{path} has another {side} dictionary .*{data}/dict.{language}.txt"):
        check_here(path)


def test_dictionaries_beside_the_checkpoint_are_read(data, tmp_path):
    path = checkpoint(tmp_path / "a.pt", "/moved/away")
    reordered().save(str(tmp_path / "dict.de.txt"))
    with pytest.raises(IkdError, match=f"{path} has another target dictionary .*{tmp_path}/dict.de.txt"):
        check_here(path)


def test_another_direction_is_refused(data, tmp_path):
    path = checkpoint(tmp_path / "a.pt", data, source_lang="de", target_lang="en")
    with pytest.raises(IkdError, match=f"{path} translates de-en, not en-de"):
        check_here(path)
    path = checkpoint(tmp_path / "b.pt", data, source_lang=None, target_lang=None)  # those of the folder
    state = torch.load(path, weights_only=False)
    torch.save({**state, "task_state": {"dictionaries": {"languages": "de-en"}}}, path)
    with pytest.raises(IkdError, match=f"{path} translates de-en, not en-de"):
        check_here(path)


def test_settings_from_before_hydra_are_read(data, tmp_path):
    path = checkpoint(tmp_path / "a.pt", data)
    state = torch.load(path)
    state["args"] = Namespace(source_lang="fr", target_lang="de")
    torch.save(state, path)
    with pytest.raises(IkdError, match="translates fr-de"):
        check_here(path)


def test_what_is_no_translation_model_is_refused(data, tmp_path):
    with pytest.raises(IkdError, match="teacher /nowhere.pt: there is no such file"):
        check_here("/nowhere.pt")
    path = checkpoint(tmp_path / "a.pt", data, encoder=None)
    with pytest.raises(IkdError, match="no encoder with word embeddings"):
        check_here(path)
    state = torch.load(checkpoint(tmp_path / "a.pt", data))
    state["model"]["decoder.weight"] = torch.tensor([float("nan")])
    torch.save(state, path)
    with pytest.raises(
        IkdError, match=r"teacher .*a\.pt holds weights that are not finite \(decoder\.weight"
    ):
        check_here(path)
    torch.save([1, 2], path)
    with pytest.raises(IkdError, match="no checkpoint of fairseq"):
        check_here(path)
    (tmp_path / "a.pt").write_bytes(b"nothing")
    with pytest.raises(IkdError, match=f"teacher {path} is truncated"):
        check_here(path)
