"""Any image-free system as ONNX: its encoder, generator inside, and one step of its decoder."""

import os
import warnings

import torch
from torch import Tensor, nn

from ..contracts import ModelContract, contract_of
from ..errors import IkdError, check
from ..modules.multimodal_encoder import MultimodalEncoder
from .checkpoint_engine import load_model
from .engine import DECODER, ENCODER
from .folder import new_folder, write_facts
from .model_card import Card, write_card
from .text import TextFacts

_OPSET = 17
_TOLERANCE = 1e-4  # of what both compute in float32, in units of the largest value


class _Encoder(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """int64 ``B x I``, padded with 1, to memory ``(I+P) x B x d`` and padding mask ``B x (I+P)``."""
        encoder = self.model.encoder
        options = {}
        if isinstance(encoder, MultimodalEncoder):
            every = tokens[:, :1].eq(tokens[:, :1])  # a tensor, which tracing takes where it takes no bool
            options["hide_regions"] = every if encoder.hidden(tokens) else ~every
        else:
            options["src_lengths"] = tokens.ne(1).sum(dim=1)
        found = encoder(tokens, **options)
        return found["encoder_out"][0], found["encoder_padding_mask"][0]


class _Decoder(nn.Module):
    def __init__(self, model: nn.Module, regions: int):
        super().__init__()
        self.model, self.regions = model, regions

    def forward(self, previous: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """int64 ``N x J``, the target so far, to logarithms of the next word's probabilities, ``N x V``."""
        words = memory[: memory.size(0) - self.regions].transpose(0, 1)  # their number is what is asked for
        encoder_out = {
            "encoder_out": [memory],
            "encoder_padding_mask": [mask],
            "encoder_embedding": [words],
            "encoder_states": [],
            "src_tokens": [],
            "src_lengths": [],
        }
        return self.model.decoder(previous, encoder_out=encoder_out)[0][:, -1].log_softmax(dim=-1)


def export_onnx(checkpoint: str, output: str, facts: TextFacts, card: Card, name: str) -> None:
    """Writes the folder *output*, which ``ikd-translate`` runs by onnxruntime.

    A step of the decoder gets the whole target so far, and no cached keys: its work grows with the length.

    Raises:
        IkdError: the system needs images, or computes something else there than here; the folder cannot be
            written.
    """
    with new_folder(output) as folder:
        _, model = load_model(checkpoint, facts)
        contract = contract_of(model, ModelContract)
        instead = "export it with --format checkpoint"
        check(not contract.requires_images, f"{name} needs images, which this format has none of: {instead}")
        views = contract.views() if isinstance(model, ModelContract) else [model]
        check(len(views) == 1, f"{name} translates as an ensemble, which this format has none of: {instead}")
        try:
            _write(model, folder)
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError) as error:
            if isinstance(error, IkdError):
                raise
            reason = " ".join(str(error).split())[:200]
            raise IkdError(f"{name} cannot be expressed in ONNX ({reason}): {instead}") from error
        write_facts(folder, facts, int(model.encoder.max_positions()) - 1)
        write_card(folder, card, facts)


@torch.no_grad()
def _write(model: nn.Module, folder: str) -> None:
    tokens = torch.tensor([[4, 4, 4, 2], [4, 2, 1, 1]])
    encoder = _Encoder(model).eval()
    memory, mask = encoder(tokens)
    decoder = _Decoder(model, memory.size(0) - tokens.size(1)).eval()
    parts = (
        (ENCODER, encoder, (tokens,), ["tokens"], ["memory", "mask"]),
        (
            DECODER,
            decoder,
            (torch.tensor([[2, 4], [2, 4]]), memory, mask),
            ["previous", "memory", "mask"],
            ["next"],
        ),
    )
    axes = {
        "tokens": {0: "batch", 1: "words"},
        "memory": {0: "positions", 1: "batch"},
        "mask": {0: "batch", 1: "positions"},
        "previous": {0: "batch", 1: "length"},
        "next": {0: "batch"},
    }
    for file, part, inputs, names, results in parts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of every size that it takes for a constant
            torch.onnx.export(
                part,
                inputs,
                os.path.join(folder, file),
                input_names=names,
                output_names=results,
                dynamic_axes={axis: axes[axis] for axis in (*names, *results)},
                opset_version=_OPSET,
                dynamo=False,
            )
    _compare(encoder, decoder, folder)


def _compare(encoder: nn.Module, decoder: nn.Module, folder: str) -> None:
    """Refuses what was written if it computes something else for batches of other shapes than traced."""
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(os.path.join(folder, file)) for file in (ENCODER, DECODER)]
    last = int(encoder.model.encoder.embed_tokens.num_embeddings) - 1
    for tokens in (
        [[last, 4, 3, last, 4, 4, 2], [4, last, 2, 1, 1, 1, 1], [4, 4, 4, 4, 4, 2, 1]],
        [[last, 2]],
    ):
        batch = torch.tensor(tokens)
        previous = torch.tensor([[2, 4, 3, last, 4][: len(tokens) + 1]]).expand(len(tokens), -1).contiguous()
        memory, mask = encoder(batch)
        expected = [memory, decoder(previous, memory, mask)]
        found = sessions[0].run(None, {"tokens": batch.numpy()})
        inputs = {"previous": previous.numpy(), "memory": found[0], "mask": found[1]}
        found = [found[0], *sessions[1].run(None, inputs)]
        for ours, theirs in zip(expected, found):
            close = ours.shape == theirs.shape and (ours - torch.from_numpy(theirs)).abs().max() <= (
                _TOLERANCE * ours.abs().max()
            )
            check(close, "this system computes something else in ONNX: export it with --format checkpoint")
