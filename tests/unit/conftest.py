"""Binarised text of any number of sentences, as fairseq-preprocess leaves it."""

from pathlib import Path

import pytest
import torch
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder


def _write_text_split(data_dir, split: str, sentences: int, pair: str = "en-de", length: int = 3) -> None:
    """Writes ``DATA/SPLIT.SRC-TGT.LANG.{idx,bin}`` in both languages, each sentence of *length* tokens."""
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    for language in pair.split("-"):
        path = f"{data_dir}/{split}.{pair}.{language}"
        builder = MMapIndexedDatasetBuilder(path + ".bin")
        for _ in range(sentences):
            builder.add_item(torch.full((length,), 4))
        builder.finalize(path + ".idx")


@pytest.fixture
def write_text_split():
    return _write_text_split


@pytest.fixture
def write(tmp_path):
    """Writes texts into files, parts of what fairseq-generate printed; returns their paths."""

    def write(*contents: str):
        paths = [str(tmp_path / f"shard-{number}.txt") for number in range(len(contents))]
        for path, content in zip(paths, contents):
            with open(path, "w", encoding="utf-8", newline="") as stream:
                stream.write(content)
        return paths

    return write
