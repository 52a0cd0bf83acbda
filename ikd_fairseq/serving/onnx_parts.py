"""What a model becomes in ONNX: its encoder, and a step of its decoder that is handed the past keys."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

_EOS = 2


class Encoder(nn.Module):
    """The encoder, with what the attentions of the decoder make of its output: the same at every step.

    H heads of width h in each of L layers; M positions, words and regions.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """int64 ``B x I`` to ``L x B x M``, added to logits, and L keys and values, ``B x H x M x h``."""
        found = self.model.encoder(tokens)
        memory, mask = found["encoder_out"][0], found["encoder_padding_mask"][0]
        padding = torch.zeros_like(mask, dtype=memory.dtype).masked_fill(mask, float("-inf"))
        added, parts = [], []
        for layer in self.model.decoder.layers:
            attention = layer.encoder_attn
            bias = getattr(attention, "region_bias", None)
            if bias is not None:
                bias.tell(found)
            added.append(padding if bias is None else padding + bias.mask(memory[:1], memory.size(0)))
            for projection in (attention.k_proj, attention.v_proj):
                split = projection(memory).unflatten(2, (attention.num_heads, attention.head_dim))
                parts.append(split.permute(1, 2, 0, 3))
        return (torch.stack(added), *parts)


class _Positions(nn.Module):
    """A table of what fairseq's module makes of every length, sinusoidal or learnt."""

    def __init__(self, positions: nn.Module, longest: int):
        super().__init__()
        self.register_buffer("table", positions(torch.full((1, longest), _EOS)).detach()[0])

    def forward(self, tokens: Tensor, incremental_state: dict[str, Any]) -> Tensor:
        return self.table[incremental_state["length"]].view(1, 1, -1)


class _Attention(nn.Module):
    """One more word asks, N hypotheses at once: fairseq's attention in a third of its nodes.

    Every node costs a microsecond or more, which is most of what a sentence alone takes. fairseq's own
    arithmetic on shapes is left out: all sizes but one are known when the graph is made.
    """

    def __init__(self, attention: nn.Module, number: int):
        super().__init__()
        self.inner, self.number = attention, number
        self.sizes = attention.num_heads, attention.head_dim

    def _get_input_buffer(self, incremental_state: dict[str, Any]) -> dict[str, Tensor]:
        return {}  # which a layer asks for, to see whether it has a past

    def forward(self, query: Tensor, incremental_state: dict[str, Any], **_: Any) -> tuple[Tensor, None]:
        """``1 x N x d`` to as much."""
        attend = self._words if self.inner.self_attention else self._memory
        found = attend(query, incremental_state)
        return self.inner.out_proj(found.reshape(1, -1, self.inner.embed_dim)), None

    def _words(self, query: Tensor, state: dict[str, Any]) -> Tensor:
        heads, width = self.sizes
        projections = self.inner.q_proj, self.inner.k_proj, self.inner.v_proj
        asked, key, value = (projection(query).view(-1, heads, 1, width) for projection in projections)
        keys, values = state["past"][self.number]
        keys, values = torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)
        state["past"][self.number] = keys, values
        return ((self.inner.scaling * asked) @ keys.transpose(2, 3)).softmax(dim=-1) @ values

    def _memory(self, query: Tensor, state: dict[str, Any]) -> Tensor:
        """The hypotheses of a sentence ask together, of one memory: nothing is copied for each of them."""
        keys, values = state["memory"][self.number]
        asked = self.inner.scaling * self.inner.q_proj(query)
        asked = asked.view(keys.size(0), -1, *self.sizes).transpose(1, 2)  # B x H x beams x h
        logits = asked @ keys.transpose(2, 3) + state["mask"][self.number][:, None, None]
        return (logits.softmax(dim=-1) @ values).transpose(1, 2)


class Step(nn.Module):
    """One step of the decoder for N hypotheses, as many of each sentence, the past of N' before it."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.decoder = copy.deepcopy(model.decoder)
        if self.decoder.embed_positions is not None:
            longest = int(self.decoder.max_positions())
            self.decoder.embed_positions = _Positions(self.decoder.embed_positions, longest)
        for number, layer in enumerate(self.decoder.layers):
            layer.self_attn = _Attention(layer.self_attn, number)
            layer.encoder_attn = _Attention(layer.encoder_attn, number)

    def forward(
        self, previous: Tensor, rows: Tensor, count: Tensor, mask: Tensor, *parts: Tensor
    ) -> tuple[Tensor, ...]:
        """
        Args:
            previous: int64 ``N x 1``, the last word of each hypothesis.
            rows: int64 N, which of the N' each goes on from.
            count: int64, the number of words that are asked for.
            mask: of :class:`Encoder`.
            parts: its keys and values, then L times those of the words so far, ``N' x H x J x h``.

        Returns:
            logarithms of probabilities of the best words and these, ``N x count``; that of the end, N; and L
            times keys and values for the next step, ``N x H x (J+1) x h``.
        """
        layers = len(self.decoder.layers)
        past = [part.index_select(0, rows) for part in parts[2 * layers :]]
        state = {
            "past": list(zip(past[::2], past[1::2])),
            "memory": list(zip(parts[: 2 * layers : 2], parts[1 : 2 * layers : 2])),
            "mask": mask,
            "length": past[0].size(2),
        }
        sizes = mask[0].transpose(0, 1).unsqueeze(2)  # as many positions; what they hold has been asked for
        encoder_out = {"encoder_out": [sizes], "encoder_padding_mask": []}
        output = self.decoder(previous, encoder_out=encoder_out, incremental_state=state)
        scores = self.decoder.get_normalized_probs(output, True, None)[:, -1]
        best, words = torch.topk(scores, count, dim=1)
        return (best, words, scores[:, _EOS], *(part for pair in state["past"] for part in pair))
