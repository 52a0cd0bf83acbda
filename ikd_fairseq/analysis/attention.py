"""Which words the first encoder layer looks at, head by head. Peng et al. 2022, section 5.1, Figure 4.

The queries are the I text positions and behind them the P regions of the generated feature; keys are the text
positions. The weights are those of the softmax, as the layer computes them in eval mode. Beside the heat maps
the mean entropy of the weights tells in one number whether a head looks everywhere (log2 of the number of
words, given too) or picks (0), for text and regions apart. (The released script shows the first 49 queries,
which are words before they are regions.)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from fairseq.data import LanguagePairDataset
from torch import Tensor, nn

from ..errors import check
from .features import GENERATING, Trained, encode, load_sentences, load_trained
from .output import Table, check_folder, check_sentences, new_figure, require, write_files

DEFAULT_COUNT = 4


@contextmanager
def head_weights(attention: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the weights of every call of a fairseq *attention* within the block, head by head.

    The layer that calls it asks for no weights: it is asked on the way in, and its result is left as it is.

    Yields:
        A list to which each call adds ``heads x B x queries x keys``, 0 for keys under the padding mask.
    """
    found: list[Tensor] = []

    def ask(module, args, kwargs):
        # static_kv, which means nothing without an incremental state, leads past PyTorch's own function,
        # which knows the mean over heads alone.
        return args, {**kwargs, "need_weights": True, "need_head_weights": True, "static_kv": True}

    def keep(module, args, result):
        found.append(result[1].detach())

    with attention.register_forward_pre_hook(ask, with_kwargs=True), attention.register_forward_hook(keep):
        yield found


def attention_of(
    trained: Trained, dataset: LanguagePairDataset, sentences: Sequence[int], max_tokens: int
) -> dict[int, Tensor]:
    """The first layer's weights for each of the distinct *sentences*.

    Returns:
        By sentence, float32 ``heads x (I+P) x I`` on the CPU: I is the sentence's own length, end of sentence
        included, whatever its batch was padded to.
    """
    padding = trained.task.source_dictionary.pad()
    found: dict[int, Tensor] = {}
    with head_weights(trained.model.encoder.layers[0].self_attn) as weights:
        for numbers, tokens, regions in encode(trained, dataset, sentences, max_tokens):
            (all_weights,) = weights
            weights.clear()
            for row, sentence in enumerate(numbers):
                words = tokens[row].ne(padding)
                queries = torch.cat([words, words.new_ones(regions.size(1))])
                found[sentence] = all_weights[:, row][:, queries][:, :, words].float().cpu()
    return found


def entropy(weights: Tensor) -> Tensor:
    """Of distributions along the last axis, in bits: ``... x I`` to ``...``."""
    return torch.special.entr(weights).sum(dim=-1) / torch.log(torch.tensor(2.0))


def draw(weights: Tensor, words: Sequence[str]):
    """Heat maps of ``heads x (I+P) x I``, one a head: a column a word, a row a query."""
    heads, queries, _ = weights.shape
    width, height = 1.5 + heads * max(1.6, 0.28 * len(words)), 1.2 + 0.14 * queries
    figure = new_figure(width, height, dpi=100, layout="constrained")
    panels = figure.subplots(1, heads, sharey=True, squeeze=False)[0]
    names = [*words, *(f"region {number}" for number in range(1, queries - len(words) + 1))]
    for head, axes in enumerate(panels):
        # As in the paper, lighter is less; one scale for all heads, so that they can be compared.
        image = axes.imshow(weights[head], cmap="Blues", vmin=0, vmax=float(weights.max()), aspect="auto")
        axes.axhline(len(words) - 0.5, color="black", linewidth=0.6)
        axes.set_title(f"head {head + 1}")
        axes.set_xticks(range(len(words)), words, rotation=90, fontsize=7, parse_math=False)
        axes.set_yticks(range(queries), names, fontsize=6, parse_math=False)
    figure.colorbar(image, ax=list(panels), fraction=0.03)
    return figure


def run(
    *, split: str, output: str, max_tokens: int, sentences: Sequence[int] | None = None, **model: Any
) -> Table:
    """Writes ``attention.json``, ``.tsv`` and a picture a sentence, ``attention.N.png``. Needs no images."""
    require("matplotlib")
    check_folder(output)
    trained = load_trained(**model, architecture=GENERATING)
    check(
        not trained.model.encoder.no_text,
        f"{model['checkpoint']} was trained with --no-text, so that nothing in it attends to words: give one "
        "that was not",
    )
    dataset = load_sentences(trained, split)
    default = range(min(DEFAULT_COUNT, len(dataset)))
    sentences = list(dict.fromkeys(default if sentences is None else sentences))
    check_sentences(sentences, split, len(dataset))

    found = attention_of(trained, dataset, sentences, max_tokens)
    rows: list[tuple] = []
    entries: list[dict[str, Any]] = []
    for sentence in sentences:
        weights = found[sentence]
        # Words, or pieces of them, with the end of sentence.
        words = [trained.task.source_dictionary[unit] for unit in dataset.src[sentence].tolist()]
        bits, uniform = entropy(weights), float(torch.log2(torch.tensor(len(words))))
        for head, of_head in enumerate(bits, start=1):
            of_text, of_regions = of_head[: len(words)].mean(), of_head[len(words) :].mean()
            rows.append((sentence, head, float(of_text), float(of_regions), uniform))
        entries.append({"sentence": sentence, "words": words, "weights": weights.tolist()})
        write_files(output, {f"attention.{sentence}.png": draw(weights, words)})
    table = Table(["sentence", "head", "bits of text", "bits of regions", "bits if uniform"], rows)
    write_files(output, {"attention.json": {"split": split, "sentences": entries}, "attention.tsv": table})
    return table
