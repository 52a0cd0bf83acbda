"""ikd-build-image-index: the table against a plain one, embeddings that find, and what is refused."""

import math
import re

import numpy as np
import pytest
import torch
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder

from ikd_fairseq.cli.build_image_index import main
from ikd_fairseq.data import feature_extraction
from ikd_fairseq.data.by_sentence import BySentence
from ikd_fairseq.data.feature_pack import BY_SENTENCE, write_features
from ikd_fairseq.data.image_pack import ImagePackWriter
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.manifests import text_fingerprint
from ikd_fairseq.modules.image_index import load_image_index
from ikd_fairseq.modules.image_index_builder import (
    Captions,
    build_dense_index,
    build_image_index,
    build_topic_index,
    read_captions,
    read_stop_words,
)
from ikd_fairseq.vision.backbones import get_backbone
from ikd_fairseq.vision.frozen_cnn import FrozenCNN
from tests import toy
from tests.closeness import assert_close_to_scale

SIZE = toy.IMAGE_SIZE
WORDS = toy.dictionary()
# Word numbers; three images, the last of which two sentences share, and a sentence without one.
SENTENCES = [[0, 1, 2, 2], [0, 3], [0, 4, 5], [0, 1, 6], [7]]
INDEX = np.array([2, -1, 0, 1, 2], dtype=np.int32)
RANDOM_CNN = {"backbone": "efficientnet_lite0", "backbone_weights": "random"}
IMAGES = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)


def ids(sentence):
    return [number + WORDS.nspecial for number in sentence]


def write_text(data, sentences=SENTENCES, pair="en-de"):
    for language in pair.split("-"):
        path = f"{data}/train.{pair}.{language}"
        builder = MMapIndexedDatasetBuilder(path + ".bin")
        for sentence in sentences:
            builder.add_item(torch.tensor(ids(sentence) + [WORDS.eos()]))
        builder.finalize(path + ".idx")
        WORDS.save(f"{data}/dict.{language}.txt")


@pytest.fixture
def data(tmp_path):
    """A data folder: five sentences and three images."""
    write_text(tmp_path)
    with ImagePackWriter(f"{tmp_path}/train", SIZE, INDEX, len(IMAGES), "d") as writer:
        for row, image in enumerate(IMAGES):
            writer.write(row, image)
        writer.commit({"text": text_fingerprint(str(tmp_path), "train")})
    return str(tmp_path)


def captions():
    with_image = [sentence for sentence, row in zip(SENTENCES, INDEX) if row >= 0]
    images = torch.from_numpy(INDEX[INDEX >= 0]).long()
    return Captions([ids(sentence) for sentence in with_image], images, WORDS)


@pytest.mark.parametrize("topics", [1, 2, 8])
def test_table_lists_for_each_word_the_images_that_it_is_a_topic_of(topics):
    index = build_topic_index(captions(), torch.zeros(3, 2).half(), topics, stop_share=0.5)
    documents = captions().sentences
    share = {word: sum(word in d for d in documents) / len(documents) for d in documents for word in d}
    idf = {word: -math.log(share[word]) for word in share if share[word] <= 0.5}
    table = {}
    for document, image in zip(documents, captions().images.tolist()):
        words = [word for word in dict.fromkeys(document) if word in idf]
        ranked = sorted(words, key=lambda word: -document.count(word) * idf[word])
        for word in ranked[:topics]:
            table.setdefault(word, set()).add(image)
    for word in range(len(WORDS)):
        listed = index.rows[index.offsets[word] : index.offsets[word + 1]].tolist()
        assert listed == sorted(table.get(word, ()))
        assert float(index.idf[word]) == pytest.approx(idf.get(word, 0.0), abs=1e-6)
    assert ids([0])[0] not in table  # in more than half of the captions: a stop word


def test_dense_embeddings_find_each_captions_own_image_and_training_leaves_random_numbers_alone():
    torch.manual_seed(0)
    first, second = torch.randn(4, 16), torch.randn(3, 16)  # what the two words of a caption look like
    vectors = torch.stack([first[image % 4] + second[image // 4] for image in range(12)]).half()
    sentences = [ids([image % 4, 4 + image // 4]) for image in range(12)]
    toy_captions = Captions(sentences, torch.arange(12), WORDS)
    state = torch.get_rng_state()
    index = build_dense_index(toy_captions, vectors, width=16, epochs=150, batch_size=12)
    assert torch.equal(torch.get_rng_state(), state)
    rows, _ = index.retrieve(torch.tensor(sentences), 1)
    assert rows[:, 0].tolist() == list(range(12))
    assert not index.words[ids([15])].any() and index.words[ids([3])].any()
    assert_close_to_scale(index.images.norm(dim=1), torch.ones(12))
    again = build_dense_index(toy_captions, vectors, width=16, epochs=150, batch_size=12)
    assert torch.equal(index.words, again.words)


@pytest.mark.parametrize("retriever", ["topic", "dense"])
def test_command_writes_the_pooled_vectors_of_the_images_that_sentences_have(data, retriever):
    options = ["--backbone", "efficientnet_lite0", "--backbone-weights", "random", "--batch-size", "2"]
    options += ["--epochs", "2"] if retriever == "dense" else ["--stop-share", "1"]
    assert not main(["--data", data, "--retriever", retriever, *options])
    index = load_image_index(f"{data}/image-index.{retriever}.pt", retriever, WORDS)
    backbone = get_backbone("efficientnet_lite0")
    with torch.no_grad():
        maps = FrozenCNN(backbone, "random")(backbone.normalise(torch.from_numpy(IMAGES)))[-1]
    torch.testing.assert_close(index.vectors.float(), maps.mean(dim=(2, 3)), rtol=2e-3, atol=2e-3)
    rows, missing = index.retrieve(torch.tensor([ids([4, 5])]), 1)
    assert not missing.any() and rows.shape == (1, 1)
    if retriever == "topic":
        assert rows.tolist() == [[0]]  # the image of the only caption with these words


def test_vectors_come_from_features_by_sentence_too_and_images_of_no_sentence_are_left_out(data, monkeypatch):
    monkeypatch.setattr(feature_extraction, "FrozenCNN", None)
    features = np.random.default_rng(2).standard_normal((5, 4, 6)).astype(np.float16)
    text = text_fingerprint(data, "train")
    write_features(f"{data}/train", "own", features.shape, [features], {"rows": BY_SENTENCE, "text": text})
    index = build_image_index(data, "topic", image_features="own", output=f"{data}/mine.pt", topics=3)
    np.testing.assert_allclose(index.vectors, features.astype(np.float32).mean(1), rtol=1e-3, atol=1e-3)
    assert torch.equal(load_image_index(f"{data}/mine.pt", "topic", WORDS).vectors, index.vectors)


def test_source_language_is_told_by_the_files_or_asked_for(data):
    write_text(data, pair="en-fr")
    with pytest.raises(IkdError, match="several language pairs .en-de, en-fr.: give --source-lang"):
        read_captions(data, "train", None, BySentence(INDEX))
    found, rows = read_captions(data, "train", "de", BySentence(INDEX))
    assert found.sentences == captions().sentences
    assert rows.tolist() == [0, 1, 2] and found.images.tolist() == [2, 0, 1, 2]
    with pytest.raises(IkdError, match="--source-lang cs: .* holds no train of that language"):
        read_captions(data, "train", "cs", BySentence(INDEX))


def test_text_without_images_is_refused_in_a_sentence(tmp_path):
    write_text(tmp_path)
    with pytest.raises(IkdError, match="there is no image pack .*train.images.npy: run ikd-pack"):
        build_image_index(str(tmp_path), "topic")


def test_what_cannot_be_used_is_refused_in_a_sentence(data, capsys):
    for options, message in (
        (["--data", f"{data}/none"], "data folder .*/none does not exist"),
        (["--data", data, "--split", "valid"], "no valid"),
        (["--data", data, "--image-features", "own"], "--image-features own: there are none of"),
        (["--data", data, "--image-features", "own", "--device", "cpu"], "runs no CNN: drop --device"),
        (["--data", data, "--epochs", "3", "--seed", "1"], "--epochs, --seed: only for --retriever dense"),
        (["--data", data, "--output", f"{data}/none/index.pt"], "there is no folder .*/none"),
    ):
        assert main([*options, "--retriever", "topic"]) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("build-image-index: error: ")
        assert re.search(message, error), error
    with pytest.raises(SystemExit):
        main(["--data", data, "--retriever", "topic", "--stop-share", "0"])


def test_words_of_a_stop_list_are_no_topics_and_common_ones_then_may_be(data, tmp_path):
    (tmp_path / "stop.txt").write_text("w1\n\nw2 \nnowhere\n", encoding="utf-8")
    index = build_image_index(data, "topic", stop_words=str(tmp_path / "stop.txt"), **RANDOM_CNN)
    topics = {WORDS.symbols[word] for word in index.idf.nonzero().flatten().tolist()}
    # w0 is in three captions of four, more than the fifth that is allowed without a list.
    assert topics == {"w0", "w4", "w5", "w6", "w7"}
    saved = torch.load(f"{data}/image-index.topic.pt", weights_only=True)
    assert saved["source"]["stop_words"] == str(tmp_path / "stop.txt")
    english = read_stop_words("english")
    assert {"two", "are", "at", "the", "."} <= set(english) and "man" not in english
    with pytest.raises(IkdError, match="--stop-words /nowhere.txt: no such file; .*english"):
        build_image_index(data, "topic", stop_words="/nowhere.txt", **RANDOM_CNN)
    (tmp_path / "stop.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(IkdError, match="stop.txt holds no word"):
        read_stop_words(str(tmp_path / "stop.txt"))
