"""Subwords drawn anew: the words stay, the draw repeats, and nothing unknown comes in."""

import random

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.data.iterators import EpochBatchIterator

from ikd_fairseq.data.by_sentence import BySentence
from ikd_fairseq.data.pairs.bpe_dropout_dataset import BpeDropoutDataset, SubwordSampler
from ikd_fairseq.data.pairs.image_pair_dataset import ImagePairDataset
from ikd_fairseq.errors import IkdError

MERGES = "#version: 0.2\nl o\nlo w\nlow er</w>\ne r</w>\nn e\nne w</w>\n"
PIECES = "l@@ o@@ w@@ e@@ r n@@ w lo@@ low@@ er lower ne@@ new".split()


@pytest.fixture
def codes(tmp_path):
    (tmp_path / "code").write_text(MERGES, encoding="utf-8")
    return str(tmp_path / "code")


def dictionary(pieces=PIECES):
    words = Dictionary()
    for piece in pieces:
        words.add_symbol(piece)
    return words


def encoded(text, words):
    return words.encode_line(text, add_if_not_exist=False).long()


def test_words_stay_and_subwords_change(codes):
    words = dictionary()
    sampler, sentence = SubwordSampler(codes, words, 0.5), encoded("lower new", words)
    sampler.check_text([sentence])
    drawn = [sampler(sentence, str(key)) for key in range(40)]
    assert {words.string(one, bpe_symbol="subword_nmt") for one in drawn} == {"lower new"}
    assert len({tuple(one.tolist()) for one in drawn}) > 5
    assert all(one.dtype == torch.int64 and one[-1] == words.eos() for one in drawn)
    assert torch.equal(SubwordSampler(codes, words, 1e-9)(sentence, "0"), sentence)


def test_a_key_repeats_its_draw_and_other_random_numbers_go_on(codes):
    words = dictionary()
    sampler, sentence = SubwordSampler(codes, words, 0.5), encoded("lower lower new", words)
    random.seed(3)
    expected = random.random()
    random.seed(3)
    first = sampler(sentence, "1 2 3")
    assert random.random() == expected
    assert torch.equal(sampler(sentence, "1 2 3"), first)


def test_a_word_keeps_its_subwords_where_others_are_unknown(codes):
    words = dictionary([piece for piece in PIECES if piece not in ("n@@", "ne@@")])
    sampler = SubwordSampler(codes, words, 0.9)
    sentence = encoded("new strange@@ low@@ er new", words)  # by itself, lower would be one piece
    sampler.check_text([sentence])
    assert words.unk() in sentence
    assert all(torch.equal(sampler(sentence, str(key)), sentence) for key in range(10))


class Pairs:
    def __init__(self, sentence):
        self.sentence, self.src, self.tgt = sentence, [sentence], [sentence]

    def __getitem__(self, index):
        return {"id": index, "source": self.sentence, "target": self.sentence}

    def set_epoch(self, epoch):
        self.epoch = epoch


def test_epochs_sentences_and_seeds_differ_and_each_repeats(codes):
    words = dictionary()
    sentence = encoded(" ".join(["lower new"] * 6), words)

    def seen(seed, epoch, index, sides=("source",)):
        sampler = SubwordSampler(codes, words, 0.5)
        pairs = BpeDropoutDataset(Pairs(sentence), dict.fromkeys(sides, sampler), seed)
        pairs.set_epoch(epoch)
        assert pairs.dataset.epoch == epoch
        return pairs[index]

    ways = {(seed, epoch, index) for seed in (1, 2) for epoch in (1, 2) for index in (0, 1)}
    drawn = {way: tuple(seen(*way)["source"].tolist()) for way in ways}
    assert len(set(drawn.values())) == len(ways)
    assert all(tuple(seen(*way)["source"].tolist()) == drawn[way] for way in ways)
    assert torch.equal(seen(1, 1, 0)["target"], sentence)
    both = seen(1, 1, 0, sides=("source", "target"))
    assert not torch.equal(both["target"], sentence) and not torch.equal(both["target"], both["source"])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_epoch_draws_what_an_uninterrupted_one_does(codes, workers):
    words = dictionary()
    sentences = [encoded(" ".join(["lower new"] * (3 + number)), words) for number in range(6)]
    sizes = [len(sentence) for sentence in sentences]

    def iterator(epoch):
        pairs = LanguagePairDataset(sentences, sizes, words, sentences, sizes, words)
        pairs = BpeDropoutDataset(pairs, {"source": SubwordSampler(codes, words, 0.5)}, seed=3)
        pairs.set_epoch(epoch)  # as the task does
        batches = [[number] for number in range(len(sentences))]
        return EpochBatchIterator(pairs, pairs.collater, batches, seed=1, num_workers=workers)

    def drawn(epoch):
        return [batch["net_input"]["src_tokens"].tolist() for batch in epoch]

    whole = iterator(epoch=1)
    first = drawn(whole.next_epoch_itr())
    second = whole.next_epoch_itr()
    begun = [next(second)["net_input"]["src_tokens"].tolist() for _ in range(2)]
    state = whole.state_dict()
    rest = drawn(second)
    assert sorted(first) != sorted(begun + rest)
    resumed = iterator(epoch=2)
    resumed.load_state_dict(state)
    assert drawn(resumed.next_epoch_itr()) == rest


def test_images_are_batched_beside_subwords_that_are_drawn(codes):
    words = dictionary()
    sentences = [encoded(" ".join(["lower new"] * number), words) for number in (3, 5)]
    sizes = [len(sentence) for sentence in sentences]
    pairs = LanguagePairDataset(sentences, sizes, words, sentences, sizes, words)
    drawn = BpeDropoutDataset(pairs, {"source": SubwordSampler(codes, words, 0.9)}, seed=3)
    image = np.full((2, 2, 3), 7, dtype=np.uint8)
    shown = ImagePairDataset(drawn, "images", BySentence.of([None, image], (2, 2, 3), np.uint8))
    batch = shown.collater([shown[0], shown[1]], pad_to_length={"source": 90, "target": 9})["net_input"]
    assert batch["src_tokens"].shape == (2, 90)
    assert batch["images"].unique().tolist() == [7]
    sources = [row[row.ne(words.pad())] for row in batch["src_tokens"]]
    longest = int(batch["image_positions"])
    assert torch.equal(sources[longest], drawn[1]["source"]) and len(sources[longest]) > sizes[1]


def test_other_merges_and_files_that_are_none_are_refused(codes, tmp_path):
    words = dictionary()
    with pytest.raises(IkdError, match=r"by its merges lower does not become 'l@@ o@@ w@@ er'"):
        SubwordSampler(codes, words, 0.1).check_text([encoded("l@@ o@@ w@@ er new", words)])
    with pytest.raises(IkdError, match="there is no such file of BPE merges"):
        SubwordSampler(str(tmp_path / "nothing"), words, 0.1)
    (tmp_path / "text").write_text("#version: 0.2\none two three\n", encoding="utf-8")
    with pytest.raises(IkdError, match="not a file of BPE merges"):
        SubwordSampler(str(tmp_path / "text"), words, 0.1)
