"""Translations in the order asked for, whose image each sentence is given, and what is scored against."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq.data import LanguagePairDataset
from fairseq.sequence_generator import SequenceGenerator

from ikd_fairseq.analysis.features import Trained
from ikd_fairseq.analysis.translation import references_of, translate, with_images_of
from ikd_fairseq.data.by_sentence import BySentence
from ikd_fairseq.data.pairs.image_pair_dataset import ImagePairDataset
from ikd_fairseq.errors import IkdError
from ikd_fairseq.tasks.multimodal_translation import MultimodalTranslationConfig, MultimodalTranslationTask
from tests import toy

IMAGES = [0, None, 1, 2, None]  # of the five sentences
FEATURES = 3 * np.random.default_rng(2).standard_normal((3, toy.REGIONS, toy.CHANNELS)).astype(np.float32)
SHORT = dict(max_target_positions=10)  # no translation is longer


def with_task(model, data="data", noise=1.0):
    """*model* for analysis, its weights moved so far by *noise* that what it translates matters."""
    torch.manual_seed(4)
    for parameter in model.parameters():
        parameter.data.add_(noise * torch.randn_like(parameter))
    words = toy.dictionary()
    task = MultimodalTranslationTask(MultimodalTranslationConfig(target_lang="de"), words, words)
    return Trained(model.eval(), task, data, "random", "cpu")


@pytest.fixture
def pictured(dataset):
    entries = [None if row is None else FEATURES[row] for row in IMAGES]
    return ImagePairDataset(dataset, "features", BySentence.of(entries, FEATURES.shape[1:], np.float32))


def alone(model, source, **images):
    """What fairseq's own beam search finds for one sentence."""
    search = SequenceGenerator([model], toy.dictionary(), beam_size=3, max_len_b=200)
    net_input = {"src_tokens": source[None], "src_lengths": torch.tensor([len(source)]), **images}
    (hypotheses,) = search.generate([model], {"net_input": net_input})
    return toy.dictionary().string(hypotheses[0]["tokens"])


@pytest.mark.parametrize("max_tokens", [6, 4096])
def test_translations_stand_in_the_order_asked_for_whatever_the_batches(dataset, max_tokens):
    trained = with_task(toy.ikd_model(**SHORT))
    order = [3, 0, 4]
    found = translate(trained, dataset, order, beam=3, max_tokens=max_tokens)
    assert found == [alone(trained.model, dataset.src[number]) for number in order]
    assert len(set(found)) == 3


def test_a_sentence_is_translated_with_the_image_that_it_is_given(dataset, pictured):
    trained = with_task(toy.image_must_model(**SHORT), noise=0.3)
    features, here = torch.from_numpy(FEATURES), torch.tensor([0])

    def expected(sentence, image):
        source = dataset.src[sentence]
        return alone(trained.model, source, features=features[[image]], image_positions=here)

    own = translate(trained, pictured, [0, 2, 3], beam=3)
    assert own == [expected(0, 0), expected(2, 1), expected(3, 2)]
    others = translate(trained, with_images_of(pictured, np.array([2, 1, 3, 0, 4])), [0, 2, 3], beam=3)
    assert others == [expected(0, 1), expected(2, 2), expected(3, 0)]
    assert others != own
    without = translate(trained, pictured.dataset, range(5), beam=3)
    assert without == [alone(trained.model, source) for source in dataset.src]


def test_others_images_reach_batches_of_sentences_with_and_without_an_image(pictured):
    shuffled = with_images_of(pictured, np.array([2, 1, 3, 0, 4]))
    assert np.array_equal(shuffled.images[0], FEATURES[1])
    assert shuffled.images[1] is None
    batch = shuffled.collater([shuffled[1], shuffled[4]])
    assert batch["net_input"]["features"].shape == (0, toy.REGIONS, toy.CHANNELS)


def test_subwords_are_joined(dataset):
    words = toy.dictionary()
    words.symbols = [f"{symbol}@@" if symbol == "w3" else symbol for symbol in words.symbols]
    task = SimpleNamespace(
        target_dictionary=words,
        build_generator=lambda models, options: options.beam,
        inference_step=lambda beam, models, batch: [
            [{"tokens": source[:beam]}] for source in batch["net_input"]["src_tokens"]
        ],
    )
    trained = Trained(toy.ikd_model(), task, "data", "random", "cpu")
    assert translate(trained, dataset, [0], beam=3) == ["w1 w2 w3@@".replace("@@", "")]
    assert translate(trained, dataset, [0], beam=4) == ["w1 w2 w3"]


def test_references_come_from_the_folder_named_the_data_folder_or_the_targets(dataset, tmp_path):
    trained = with_task(toy.ikd_model(), str(tmp_path))
    assert references_of(trained, dataset, "test")[:2] == ["w1 w2 w3", "w4"]
    (tmp_path / "bpe").mkdir()
    (tmp_path / "bpe" / "test.de").write_text("w@@ 1 w2 selten\n" * 5)  # as for a record, see test_scoring
    assert references_of(trained, dataset, "test") == ["w1 w2 selten"] * 5
    lines = [f"satz {number}" for number in range(5)]
    for folder, start in (("reference", ""), ("mine", "mein ")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "test.de").write_text("".join(f"{start}{line}\n" for line in lines))
    assert references_of(trained, dataset, "test") == lines
    assert references_of(trained, dataset, "test", str(tmp_path / "mine"))[0] == "mein satz 0"


def test_references_that_cannot_be_used_are_refused_in_a_sentence(dataset, tmp_path):
    trained = with_task(toy.ikd_model(), str(tmp_path))
    with pytest.raises(IkdError, match="test1.de cannot be read"):
        references_of(trained, dataset, "test1", str(tmp_path))
    (tmp_path / "test.de").write_text("nur einer\n")
    with pytest.raises(IkdError, match=r"test.de has 1 sentences, but test in .* has 5"):
        references_of(trained, dataset, "test", str(tmp_path))
    untranslated = LanguagePairDataset(dataset.src, dataset.src_sizes, dataset.src_dict)
    with pytest.raises(IkdError, match="no translations .* give --references FOLDER with test.de"):
        references_of(trained, untranslated, "test")


def test_unknown_word_of_a_binarised_reference_matches_no_translation(dataset):
    dataset.tgt[0][0] = toy.dictionary().unk()
    assert references_of(with_task(toy.ikd_model(), "nowhere"), dataset, "test")[0] == "<<unk>> w2 w3"
