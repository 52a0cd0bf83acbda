"""One layer of the multimodal encoder (Yao & Wan 2020; Peng et al. 2022, equations 1 to 3)."""

from fairseq.modules import MultiheadAttention
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from torch import Tensor


class MultimodalEncoderLayer(TransformerEncoderLayerBase):
    """fairseq's encoder layer in which text and regions ask and the text alone answers.

    Queries are the I text and P region positions, keys and values the text. Residuals, feed-forward network
    and layer normalisation (before or after each block) are fairseq's. Without text (``--no-text``) it is
    handed the regions alone, which then ask and, unless it is handed keys and values too, answer.
    """

    def build_self_attention(self, embed_dim, cfg):
        # Not self_attention=True: keys are not the queries.
        return MultiheadAttention(
            embed_dim,
            cfg.encoder.attention_heads,
            dropout=cfg.attention_dropout,
            q_noise=self.quant_noise,
            qn_block_size=self.quant_noise_block_size,
        )

    def forward(self, x: Tensor, memory_padding_mask: Tensor, memory: Tensor | None = None) -> Tensor:
        """
        Args:
            x: text, then regions: ``(I+P) x B x d``; or regions alone, ``P x B x d``.
            memory_padding_mask: bool ``B x I`` (``B x P`` without text), True for padding: the positions at
                the start of x that answer.
            memory: keys and values ``I x B x d``; by default those positions of the layer's input. Where
                normalisation comes first both are normalised as the queries are.

        Returns:
            As x.
        """
        residual = x
        if self.normalize_before:
            x = self.self_attn_layer_norm(x)
            memory = memory if memory is None else self.self_attn_layer_norm(memory)
        if memory is None:
            memory = x[: memory_padding_mask.size(1)]
        x, _ = self.self_attn(
            query=x, key=memory, value=memory, key_padding_mask=memory_padding_mask, need_weights=False
        )
        x = self.residual_connection(self.dropout_module(x), residual)
        if not self.normalize_before:
            x = self.self_attn_layer_norm(x)

        residual = x
        if self.normalize_before:
            x = self.final_layer_norm(x)
        x = self.activation_dropout_module(self.activation_fn(self.fc1(x)))
        x = self.residual_connection(self.dropout_module(self.fc2(x)), residual)
        if not self.normalize_before:
            x = self.final_layer_norm(x)
        return x
