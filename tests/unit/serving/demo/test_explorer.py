"""What is found of a sentence, against what the model gives for it; what is missing, and limits."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ikd_fairseq.analysis.attention import head_weights
from ikd_fairseq.analysis.features import ComparedFeatures
from ikd_fairseq.errors import IkdError
from ikd_fairseq.serving.checkpoint_engine import CheckpointEngine
from ikd_fairseq.serving.demo import explorer as module
from ikd_fairseq.serving.demo.explorer import (
    ATTENTION,
    INVERSE,
    MOST_CHARACTERS,
    MOST_SUBWORDS,
    NEAREST,
    Explorer,
    Gallery,
    missing_parts,
)
from ikd_fairseq.serving.text import NONE, TextFacts
from ikd_fairseq.tasks.multimodal_translation import MultimodalTranslationConfig, MultimodalTranslationTask
from tests import toy
from tests.closeness import assert_close_to_scale


class ToyEngine(CheckpointEngine):
    """An engine of a *model* in memory, for whole words ``w0`` to ``w19``."""

    def __init__(self, model):
        words = toy.dictionary()
        self.task = MultimodalTranslationTask(MultimodalTranslationConfig(data="none"), words, words)
        self.model, self._needs_images, self.image_size = model.eval(), False, None
        known = tuple(words.symbols[words.nspecial :])
        self.facts = TextFacts("en", "de", known, known, lowercase=True, tokenizer=NONE)


@pytest.fixture
def model():
    return toy.trained(toy.ikd_model())


@pytest.fixture
def gallery():
    torch.manual_seed(2)
    seen = F.normalize(torch.randn(3, toy.CHANNELS), dim=1)
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    features = ComparedFeatures(
        torch.empty(0), seen, torch.empty(0), np.array([0, 3, 4]), 0.1 * torch.randn(toy.CHANNELS)
    )
    return Gallery("valid", images, features, ["first", "second", "third"])


def test_parts_of_an_answer_are_what_the_model_gives_for_the_sentence(model, gallery):
    found = Explorer(ToyEngine(model), {}, gallery).explore("W3  w1 new w5\n")
    assert found.words == ["w3", "w1", "new", "w5", "</s>"] and found.unknown == ["new"]
    assert len(found.translations) == 5
    scores = [one.score for one in found.translations]
    assert scores == sorted(scores, reverse=True)

    tokens = toy.tokens([3, 1, 0, 5])
    tokens[0, 2] = toy.dictionary().unk()
    with torch.no_grad(), head_weights(model.encoder.layers[0].self_attn) as weights:
        regions = model.encoder(tokens)["regions"][0]
        painted = model.student(regions).image[0]
    assert found.attention.shape == (2, 5 + toy.REGIONS, 5)
    assert_close_to_scale(found.attention, weights[0][:, 0])
    mean, std = (torch.tensor(values) for values in (model.backbone.mean, model.backbone.std))
    pixels = (255 * (painted.permute(1, 2, 0) * std + mean)).round().clamp(0, 255)
    assert found.inverse.dtype == np.uint8 and np.abs(found.inverse - pixels.numpy()).max() <= 1

    query = regions[0].mean(dim=0) - gallery.features.centre
    similarities = F.cosine_similarity(query.unsqueeze(0), gallery.features.seen)
    order = similarities.argsort(descending=True).tolist()
    assert [one.caption for one in found.neighbours] == [gallery.captions[place] for place in order]
    measured = torch.tensor([one.similarity for one in found.neighbours])
    assert_close_to_scale(measured, similarities[order], scale=1)
    for neighbour, place in zip(found.neighbours, order):
        assert (neighbour.image == gallery.pack[gallery.features.shown_by[place]]).all()


def test_nothing_too_much_and_the_unknown_are_answered_in_a_sentence(model):
    explorer = Explorer(ToyEngine(model), {})
    for nothing in ("", " \n\t "):
        with pytest.raises(IkdError, match="nothing to translate: type a sentence"):
            explorer.explore(nothing)
    with pytest.raises(IkdError, match="has 5,001 characters, and the page takes 5,000"):
        explorer.explore("w" * (MOST_CHARACTERS + 1))
    with pytest.raises(IkdError, match="has 2,500 subwords, and the model takes 1,023"):
        explorer.explore("w " * 2500)
    assert len(explorer.explore("x" * MOST_CHARACTERS).translations) == 5
    assert explorer.explore("日本").unknown == ["日本"]
    long = explorer.explore("w1 " * MOST_SUBWORDS)  # and the end
    assert long.attention is None and long.inverse is not None
    assert "41 subwords, and heat maps are drawn of 40 at most" in long.missing[ATTENTION]
    short = explorer.explore("w1 " * (MOST_SUBWORDS - 1))
    assert short.attention is not None and ATTENTION not in short.missing


def test_what_a_model_lacks_is_said_and_left_out(model):
    assert missing_parts(model, "data") == {}
    assert set(missing_parts(model, None)) == {NEAREST}
    without_student, without_text = toy.ikd_model(no_student=True), toy.ikd_model(no_text=True)
    assert set(missing_parts(without_student, "data")) == {INVERSE}
    assert set(missing_parts(without_text, "data")) == {ATTENTION}
    for partial in (without_student, without_text):
        missing = missing_parts(partial, None)
        answer = Explorer(ToyEngine(partial), missing).explore("w1 w2")
        assert answer.missing == missing and not answer.neighbours
        assert (answer.inverse is None) == (INVERSE in missing)
        assert (answer.attention is None) == (ATTENTION in missing)


def test_a_system_without_a_generator_translates_and_says_so():
    model = toy.text_model()
    missing = missing_parts(model, "data")
    assert set(missing) == {ATTENTION, INVERSE, NEAREST}
    assert "TextTransformerModel generates no regions from the text" in missing[NEAREST]
    answer = Explorer(ToyEngine(model), missing).explore("w1 w2")
    assert len(answer.translations) == 5 and answer.attention is answer.inverse is None


def test_a_system_that_looks_at_images_is_refused(monkeypatch):
    engine = SimpleNamespace(image_size=64)
    monkeypatch.setattr(module, "CheckpointEngine", lambda *args, **options: engine)
    with pytest.raises(IkdError, match="must.pt looks at an image of every sentence.* --image-free"):
        Explorer.open("must.pt")


def test_sentences_of_several_users_take_turns(model, monkeypatch):
    explorer, meeting, met = Explorer(ToyEngine(model), {}), threading.Barrier(2), []
    alone = [explorer.explore(text) for text in ("w1 w2", "w3")]
    forward = model.encoder.forward

    def watched(*args, **kwargs):
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.3)  # passes at once if two are in here together
            met.append(True)
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.encoder, "forward", watched)
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(explorer.explore, ("w1 w2", "w3")))
    assert meeting.broken and not met
    for found, expected in zip(together, alone):
        assert found.words == expected.words and found.translations == expected.translations
        assert_close_to_scale(found.attention, expected.attention)
