"""The image-free comparison systems at toy size."""

import torch

from ikd_fairseq.models.hallucination_transformer import (
    HallucinationTransformerConfig,
    HallucinationTransformerModel,
)
from ikd_fairseq.models.imagination_transformer import (
    ImaginationTransformerConfig,
    ImaginationTransformerModel,
)
from ikd_fairseq.models.retrieval_transformer import RetrievalTransformerConfig, RetrievalTransformerModel
from ikd_fairseq.modules.image_index import DenseIndex, TopicIndex
from tests import toy

IMAGES = 9  # in an index


def imagination_model(**options) -> ImaginationTransformerModel:
    torch.manual_seed(1)
    return ImaginationTransformerModel.build_model(
        ImaginationTransformerConfig(**{**toy.SIZES, **options}), toy.toy_task()
    )


def hallucination_model(**options) -> HallucinationTransformerModel:
    """As after its warm-up, unless *options* say otherwise."""
    torch.manual_seed(1)
    options.setdefault("feature_warmup_updates", 0)
    return HallucinationTransformerModel.build_model(
        HallucinationTransformerConfig(**{**toy.SIZES, **options}), toy.toy_task()
    )


def write_index(folder, kind: str, channels: int = toy.CHANNELS, words: int = 20) -> str:
    """An index of random images for the toy dictionary."""
    dictionary, generator = toy.dictionary(words), torch.Generator().manual_seed(4)
    size, vectors = len(dictionary), torch.randn(IMAGES, channels, generator=generator).half()
    if kind == "topic":
        lengths = torch.randint(1, 4, (size,), generator=generator)
        lengths[: dictionary.nspecial] = 0
        index = TopicIndex(
            vectors,
            idf=torch.rand(size, generator=generator) * (lengths > 0),
            offsets=torch.cat([torch.tensor([0]), lengths.cumsum(0)]),
            rows=torch.randint(0, IMAGES, (int(lengths.sum()),), generator=generator, dtype=torch.int32),
            topics=torch.tensor(3),
        )
    else:
        embedded = torch.randn(size, 4, generator=generator)
        embedded[: dictionary.nspecial] = 0
        index = DenseIndex(vectors, words=embedded, images=torch.randn(IMAGES, 4, generator=generator))
    path = f"{folder}/image-index.{kind}.pt"
    index.save(path, dictionary, {})
    return path


def retrieval_model(folder, kind: str, **options) -> RetrievalTransformerModel:
    task = toy.toy_task()
    task.cfg.data = str(folder)
    torch.manual_seed(1)
    cfg = RetrievalTransformerConfig(
        **{**toy.TEXT_SIZES, "retriever": kind, "retrieved_images": 3, **options}
    )
    return RetrievalTransformerModel.build_model(cfg, task)
