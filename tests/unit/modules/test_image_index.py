"""Look-ups against plain loops; what is found depends on the sentence alone; files of others are refused."""

import math

import pytest
import torch

from ikd_fairseq.errors import IkdError
from ikd_fairseq.modules.image_index import DenseIndex, TopicIndex, load_image_index
from tests import toy

IMAGES, CHANNELS = 7, 5


def topic_index(topics=2):
    """Word number w (of V) has the images of *table*; idf falls with the number of images."""
    words = toy.dictionary()
    size = len(words)
    torch.manual_seed(2)
    table = [
        [] if word < words.nspecial else torch.nonzero(torch.rand(IMAGES) < 0.4)[:, 0].tolist()
        for word in range(size)
    ]
    idf = torch.tensor([math.log(10 / len(images)) if images else 0.0 for images in table])
    offsets = torch.tensor([0] + [len(images) for images in table]).cumsum(0)
    rows = torch.tensor(sum(table, []), dtype=torch.int32)
    vectors = torch.randn(IMAGES, CHANNELS).half()
    return TopicIndex(vectors, idf=idf, offsets=offsets, rows=rows, topics=torch.tensor(topics)), table, idf


def dense_index():
    torch.manual_seed(3)
    words = torch.randn(len(toy.dictionary()), 4)
    words[: toy.dictionary().nspecial] = 0
    images = torch.nn.functional.normalize(torch.randn(IMAGES, 4), dim=1)
    return DenseIndex(torch.randn(IMAGES, CHANNELS).half(), words=words, images=images)


SENTENCES = ([1, 2, 2, 3, 5], [4], [6, 7, 8, 9, 10, 7], [11, 12, 1])


@pytest.mark.parametrize("topics", [1, 2, 8])
def test_topic_words_votes_and_top_images_are_those_of_plain_loops(topics):
    index, table, idf = topic_index(topics)
    tokens = toy.tokens(*SENTENCES, left_pad=True)
    rows, missing = index.retrieve(tokens, 3)
    for sentence, found, none in zip(tokens.tolist(), rows.tolist(), missing.tolist()):
        words = [word for word in dict.fromkeys(sentence) if idf[word] > 0]
        chosen = sorted(words, key=lambda word: -float(sentence.count(word) * idf[word]))[:topics]
        votes = [sum(image in table[word] for word in chosen) for image in range(IMAGES)]
        best = sorted(range(IMAGES), key=lambda image: -votes[image])[:3]  # stable: of equals the earlier
        assert [image for image, n in zip(found, none) if not n] == [image for image in best if votes[image]]
        assert sum(none) == sum(votes[image] == 0 for image in best)


def test_dense_look_up_is_the_plain_product():
    index = dense_index()
    tokens = toy.tokens(*SENTENCES)
    rows, missing = index.retrieve(tokens, 3)
    assert not missing.any()
    for sentence, found in zip(tokens, rows.tolist()):
        query = sum(index.words[word] for word in sentence)
        scores = [float(query @ image) for image in index.images]
        assert found == sorted(range(IMAGES), key=lambda image: -scores[image])[:3]


def test_dense_look_up_finds_under_autocast_what_it_finds_at_test():
    torch.manual_seed(4)
    images = torch.nn.functional.normalize(torch.randn(200, 4) * 0.01 + 1, dim=1)  # all near one another
    index = DenseIndex(torch.zeros(200, CHANNELS).half(), words=dense_index().words, images=images)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = index.retrieve(toy.tokens(*SENTENCES), 5)
    assert torch.equal(found, index.retrieve(toy.tokens(*SENTENCES), 5)[0])


@pytest.mark.parametrize("make", [lambda: topic_index()[0], dense_index])
def test_neither_batch_mates_nor_padding_matter_and_large_batches_are_no_exception(make):
    index = make()
    together, _ = index.retrieve(toy.tokens(*SENTENCES * 40), 4)
    left, _ = index.retrieve(toy.tokens(*SENTENCES, left_pad=True), 4)
    for number, sentence in enumerate(SENTENCES):
        alone, _ = index.retrieve(toy.tokens(sentence), 4)
        assert torch.equal(alone[0], left[number])
        for repeat in range(40):
            assert torch.equal(alone[0], together[number + len(SENTENCES) * repeat])


@pytest.mark.parametrize("make", [lambda: topic_index()[0], dense_index])
def test_sentence_of_no_known_word_finds_nothing_and_small_indices_give_all_they_have(make):
    index = make()
    rows, missing = index.retrieve(toy.tokens([]), 3)
    assert missing.all() and rows.shape == (1, 3)
    assert index.retrieve(toy.tokens([1, 2]), 50)[0].shape == (1, IMAGES)


@pytest.mark.parametrize("make", [lambda: topic_index()[0], dense_index])
def test_index_follows_a_model_but_is_in_no_checkpoint_and_keeps_its_precision(make):
    index = make()
    before = {name: tensor.clone() for name, tensor in index.named_buffers()}
    assert not index.state_dict()
    index.half().float().double()
    for name, tensor in index.named_buffers():
        assert tensor.dtype == before[name].dtype and torch.equal(tensor, before[name])


@pytest.mark.parametrize("make, kind", [(lambda: topic_index()[0], "topic"), (dense_index, "dense")])
def test_saved_and_loaded_index_finds_the_same(make, kind, tmp_path):
    index, path = make(), str(tmp_path / "index.pt")
    index.save(path, toy.dictionary(), {"split": "train"})
    assert [entry.name for entry in tmp_path.iterdir()] == ["index.pt"]
    loaded = load_image_index(path, kind, toy.dictionary())
    assert (len(loaded), loaded.channels) == (IMAGES, CHANNELS)
    for a, b in zip(index.retrieve(toy.tokens(*SENTENCES), 3), loaded.retrieve(toy.tokens(*SENTENCES), 3)):
        assert torch.equal(a, b)


def test_files_that_do_not_fit_are_refused_in_a_sentence(tmp_path):
    path = str(tmp_path / "index.pt")
    with pytest.raises(IkdError, match="index.pt does not exist: run ikd-build-image-index --retr.* topic"):
        load_image_index(path, "topic", toy.dictionary())
    dense_index().save(path, toy.dictionary(), {})
    with pytest.raises(IkdError, match="for --retriever dense, but the model has --retriever topic"):
        load_image_index(path, "topic", toy.dictionary())
    with pytest.raises(IkdError, match="index.pt was built from another vocabulary"):
        load_image_index(path, "dense", toy.dictionary(21))
    torch.save({"model": {}}, path)
    with pytest.raises(IkdError, match="index.pt is not an image index of format 1"):
        load_image_index(path, "topic", toy.dictionary())
    (tmp_path / "index.pt").write_bytes(b"no checkpoint")
    with pytest.raises(IkdError, match="image index .*index.pt is truncated or is no checkpoint"):
        load_image_index(path, "topic", toy.dictionary())


def change(name, to):
    return lambda tensors: {**tensors, name: to(tensors[name])}


@pytest.mark.parametrize(
    "kind, damage, message",
    [
        ("topic", change("vectors", lambda v: v.float()), "'vectors' is torch.float32"),
        ("topic", change("vectors", lambda v: v * math.nan), "'vectors' holds values that are not finite"),
        (
            "topic",
            change("vectors", lambda v: v[:1].expand(10**12, -1)),
            "'vectors' is not stored row by row",
        ),
        ("topic", change("vectors", lambda v: v[:0]), "no vectors of images"),
        ("topic", change("vectors", lambda v: v[:2]), "'rows' names images that it lacks"),
        ("topic", change("vectors", lambda v: 3), "entries that are no tensors"),
        ("topic", change("idf", lambda idf: idf[:-1]), "'idf' is torch.float32 .23,. instead of .* .24,."),
        ("topic", change("idf", lambda idf: -idf - 1), "'idf' has values below 0"),
        ("topic", change("offsets", lambda o: o * 10**12), "'offsets' does not part the images"),
        ("topic", change("offsets", lambda o: o.flip(0)), "'offsets' does not part the images"),
        ("topic", change("offsets", lambda o: o.int()), "'offsets' is torch.int32"),
        ("topic", change("rows", lambda rows: rows - 100), "'rows' names images that it lacks"),
        ("topic", change("topics", lambda topics: topics - 10), "'topics' is no number of words"),
        ("topic", change("topics", lambda topics: topics + 1000), "'topics' is no number of words"),
        ("topic", change("topics", lambda topics: topics.expand(3)), "'topics' is torch.int64 .3,."),
        ("dense", change("words", lambda words: words[1:]), "'words' is torch.float32 .23, 4. instead of"),
        ("dense", change("words", lambda words: words / 0), "'words' holds values that are not finite"),
        (
            "dense",
            change("images", lambda images: images[:, :-1]),
            "'words' is torch.float32 .24, 4. instead",
        ),
        (
            "dense",
            change("images", lambda images: images[0, 0]),
            "'words' is torch.float32 .24, 4. instead of",
        ),
    ],
)
def test_tensors_that_training_would_stumble_over_are_refused_when_read(kind, damage, message, tmp_path):
    path = str(tmp_path / "index.pt")
    {"topic": lambda: topic_index()[0], "dense": dense_index}[kind]().save(path, toy.dictionary(), {})
    content = torch.load(path, weights_only=True)
    torch.save({**content, "tensors": damage(content["tensors"])}, path)
    with pytest.raises(IkdError, match=f"index.pt is damaged: .*{message}.*: run ikd-build-image-index"):
        load_image_index(path, kind, toy.dictionary())


def test_a_flipped_bit_is_found(tmp_path):
    path = tmp_path / "index.pt"
    index = dense_index()
    index.save(str(path), toy.dictionary(), {})
    content = bytearray(path.read_bytes())
    content[content.find(index.images.numpy().tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(IkdError, match="image index .*index.pt is damaged .Bad CRC-32"):
        load_image_index(str(path), "dense", toy.dictionary())
