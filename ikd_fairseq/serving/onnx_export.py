"""Any image-free system as ONNX: its encoder, generator inside, and one step of its decoder."""

import os
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from fairseq.dataclass.configs import GenerationConfig
from torch import nn

from ..contracts import ModelContract, contract_of, views_of
from ..errors import IkdError, check
from ..io.atomic import new_folder
from .checkpoint_engine import load_model
from .engine import DECODER, ENCODER
from .folder import Limits, write_facts
from .model_card import Card, write_card
from .onnx_parts import Encoder, Step
from .text import TextFacts

_OPSET = 17
# The sizes that are free, by the first word of a tensor's name.
_AXES = {
    "tokens": {0: "batch", 1: "words"},
    "mask": {1: "batch", 2: "positions"},
    "memory": {0: "batch", 2: "positions"},
    "previous": {0: "hypotheses"},
    "rows": {0: "hypotheses"},
    "count": {},
    "past": {0: "rows", 2: "length"},
    "scores": {0: "hypotheses", 1: "count"},
    "words": {0: "hypotheses", 1: "count"},
    "end": {0: "hypotheses"},
    "next": {0: "hypotheses", 2: "length + 1"},
}
_TOLERANCE = 1e-4  # of what both compute in float32, in units of the largest value


def export_onnx(checkpoint: str, output: str, facts: TextFacts, card: Card, name: str) -> None:
    """Writes the folder *output*, which ``ikd-translate`` runs by onnxruntime.

    A step of the decoder gets the last words, and the keys and values of what is before them.

    Raises:
        IkdError: the system needs images, or computes something else there than here; the folder cannot be
            written.
    """
    with new_folder(output) as folder:
        _, model = load_model(checkpoint, facts)
        instead = "export it with --format checkpoint"
        needs = contract_of(model, ModelContract).requires_images
        check(not needs, f"{name} needs images, which this format has none of: {instead}")
        single = len(views_of([model])) == 1
        check(single, f"{name} translates as an ensemble, which this format has none of: {instead}")
        try:
            # Which folds a generator into one matrix.
            model.prepare_for_inference_(SimpleNamespace(generation=GenerationConfig()))
            write_graphs(model, folder)
        except (IkdError, OSError):
            raise
        except Exception as error:  # tracing fails in many ways, and onnxruntime's exceptions have no base
            reason = " ".join(str(error).split())[:200]
            raise IkdError(f"{name} cannot be expressed in ONNX ({reason}): {instead}") from error
        write_facts(folder, facts, Limits.of_model(model))
        write_card(folder, card, facts)


@torch.no_grad()
def write_graphs(model: nn.Module, folder: str) -> None:
    """Writes both graphs of *model*, which is in eval mode.

    Raises:
        IkdError: they would compute something else.
    """
    layers = model.decoder.layers
    inner = all(layer.encoder_attn is not None for layer in layers)
    check(inner, "its decoder has no cross-attention of its own: export it with --format checkpoint")
    tokens = torch.tensor([[4, 4, 4, 2], [4, 2, 1, 1]])
    encoder = Encoder(model).eval()
    mask, *memory = encoder(tokens)
    attention = layers[0].self_attn
    past = [torch.zeros(3, attention.num_heads, 3, attention.head_dim) for _ in memory]
    step = Step(model).eval()
    given = (torch.tensor([[4], [5], [4], [5]]), torch.tensor([0, 2, 1, 1]), torch.tensor(2), mask)
    memories, pasts, nexts = (
        [f"{name}.{layer}.{what}" for layer in range(len(layers)) for what in ("keys", "values")]
        for name in ("memory", "past", "next")
    )
    _trace(encoder, (tokens,), ["tokens"], ["mask", *memories], os.path.join(folder, ENCODER))
    _trace(
        step,
        (*given, *memory, *past),
        ["previous", "rows", "count", "mask", *memories, *pasts],
        ["scores", "words", "end", *nexts],
        os.path.join(folder, DECODER),
    )
    _compare(model, folder)


def _trace(
    part: nn.Module, inputs: tuple[torch.Tensor, ...], names: list[str], results: list[str], path: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every size that it takes for a constant
        torch.onnx.export(
            part,
            inputs,
            path,
            input_names=names,
            output_names=results,
            dynamic_axes={name: _AXES[name.split(".")[0]] for name in (*names, *results)},
            opset_version=_OPSET,
            dynamo=False,
            do_constant_folding=False,
        )


def _compare(model: nn.Module, folder: str) -> None:
    """Refuses what was written if it computes something else for batches of other shapes than traced."""
    import onnxruntime

    encoder, decoder = map(
        onnxruntime.InferenceSession, (os.path.join(folder, file) for file in (ENCODER, DECODER))
    )
    last = int(model.encoder.embed_tokens.num_embeddings) - 1
    several = [[last, 4, 3, last, 4, 4, 2], [4, last, 2, 1, 1, 1, 1], [4, 4, 4, 4, 4, 2, 1]]
    for sentences in (several, [[last, 2]]):
        _compare_steps(model, encoder, decoder, torch.tensor(sentences), last)


def _compare_steps(model: nn.Module, encoder: Any, decoder: Any, tokens: torch.Tensor, last: int) -> None:
    """Steps of two hypotheses a sentence, *last* among their words, beside the decoder without a past."""
    names = [entry.name for entry in decoder.get_inputs()]
    encoder_out, memory = model.encoder(tokens), encoder.run(None, {"tokens": tokens.numpy()})
    past = [part[:, :, :0] for part in memory[1:]]
    sentences = torch.arange(len(tokens))
    target, rows = torch.full((len(tokens), 1), 2), sentences
    for words in ([4, last], [last, 3], [4, 4], [3, 4]):
        each = len(target) // len(tokens)
        reordered = model.encoder.reorder_encoder_out(encoder_out, sentences.repeat_interleave(each))
        output = model.decoder(target, encoder_out=reordered)
        expected = model.get_normalized_probs(output, log_probs=True)[:, -1]
        given = [target[:, -1:].numpy(), rows.numpy(), np.array(expected.size(1)), *memory, *past]
        scores, found, end, *past = decoder.run(None, dict(zip(names, given)))
        _check_close(expected.gather(1, torch.from_numpy(found)), scores)
        _check_close(expected.sort(dim=1, descending=True)[0], scores)
        _check_close(expected[:, 2], end)
        # Of each sentence, the first hypothesis goes on from the last, and the second from the first.
        rows = torch.stack([sentences * each + each - 1, sentences * each], dim=1).flatten()
        target = torch.cat([target[rows], torch.tensor(words).repeat(len(tokens)).unsqueeze(1)], dim=1)


def _check_close(expected: torch.Tensor, found: np.ndarray) -> None:
    close = expected.shape == found.shape and bool(
        (expected - torch.from_numpy(found)).abs().max() <= _TOLERANCE * expected.abs().max()
    )
    check(close, "this system computes something else in ONNX: export it with --format checkpoint")
