"""Five sentences and a model of a few thousand weights, untrained, that analyses look into."""

import numpy as np
import pytest
from fairseq.data import LanguagePairDataset

from ikd_fairseq.analysis.features import Trained
from tests import toy

SENTENCES = [[1, 2, 3], [4], [5, 6], [7, 8, 9, 10], [11, 1]]


@pytest.fixture
def dataset() -> LanguagePairDataset:
    words = toy.dictionary()
    sources = [toy.tokens(sentence)[0] for sentence in SENTENCES]
    sizes = np.array([len(source) for source in sources])
    return LanguagePairDataset(sources, sizes, words, sources, sizes, words)


@pytest.fixture
def trained() -> Trained:
    return Trained(toy.ikd_model().eval(), toy.toy_task(), "data", "random", "cpu")
