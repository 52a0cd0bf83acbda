"""A text-only model in the M2M100 layout of ``transformers``: fairseq's own pre-norm Transformer, renamed."""

import os
from typing import TYPE_CHECKING, Any

import torch
from fairseq.models.transformer import TransformerDecoder, TransformerEncoder
from torch import nn

from ..compression.pruning import MASK_SUFFIX
from ..errors import IkdError, check
from ..io.atomic import new_folder
from ..io.checkpoints import is_buffer
from ..models.base import TextEncoder, WordAttentionDecoder
from ..modules.region_bias import RegionBias
from .checkpoint_engine import load_model
from .engine import DEFAULT_SEARCH
from .folder import Limits
from .model_card import Card, write_card
from .subword_tokenizer import build_tokenizer, vocabulary
from .text import SPECIAL, TextFacts

if TYPE_CHECKING:
    from transformers import GenerationConfig, M2M100ForConditionalGeneration

_TOKENS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}


def check_expressible(model: nn.Module, name: str, others: str) -> None:
    """Refuses a model that the M2M100 layout cannot express.

    Args:
        name: its architecture, for the message.
        others: the formats that it can have, for the message.

    Raises:
        IkdError: saying what is in the way, and what to do.
    """
    plain = type(model.encoder) in (TextEncoder, TransformerEncoder)
    plain = plain and type(model.decoder) in (WordAttentionDecoder, TransformerDecoder)
    plain = plain and not any(isinstance(module, RegionBias) for module in model.modules())
    instead = f"it can be exported with --format {others}"
    check(
        plain,
        f"{name} is no text-only Transformer, and this format can express nothing else: {instead}, or distil "
        "it into a text-only student first (examples/multi30k/deploy.sh)",
    )
    cfg = model.cfg
    in_the_way = {
        "layer normalisation that comes last (post-norm)": not (
            cfg.encoder.normalize_before and cfg.decoder.normalize_before
        ),
        "learned positions": cfg.encoder.learned_pos or cfg.decoder.learned_pos,
        "no positions": cfg.no_token_positional_embeddings,
        "normalised embeddings": cfg.layernorm_embedding,
        "an adaptive softmax": cfg.adaptive_softmax_cutoff is not None,
        "a decoder without cross-attention of its own": cfg.no_cross_attention or cfg.cross_self_attention,
        "an encoder and a decoder of two widths": cfg.encoder.embed_dim != cfg.decoder.embed_dim,
    }
    found = ", ".join(reason for reason, there in in_the_way.items() if there)
    check(not found, f"{name} has {found}, which this format cannot express: {instead}")
    first = model.encoder.embed_tokens.weight
    same = all(
        first.shape == other.shape and torch.equal(first, other)
        for other in (model.decoder.embed_tokens.weight, model.decoder.output_projection.weight)
    )
    needed = "this format has one matrix for the words of both languages and the output"
    check(same, f"{name} has several ({needed}): {instead}, or train it with --share-all-embeddings")


def to_m2m100(model: nn.Module, words: int | None = None) -> "M2M100ForConditionalGeneration":
    """The same model as one of ``transformers``.

    Args:
        model: one that :func:`check_expressible` passes.
        words: size of the vocabulary, where it is larger than the dictionary. A token behind the
            dictionary goes in as the unknown word does, and never comes out.
    """
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    cfg, matrix = model.cfg, model.encoder.embed_tokens.weight
    known = len(matrix)
    words = known if words is None else words
    sizes: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        part = getattr(cfg, side)
        sizes[f"{side}_layers"] = len(getattr(model, side).layers)
        sizes[f"{side}_ffn_dim"] = part.ffn_embed_dim
        sizes[f"{side}_attention_heads"] = part.attention_heads
        sizes[f"{side}_layerdrop"] = 0.0
    config = M2M100Config(
        vocab_size=words,
        d_model=matrix.size(1),
        max_position_embeddings=max(int(cfg.max_source_positions), int(cfg.max_target_positions)),
        activation_function=str(cfg.activation_fn),
        scale_embedding=not cfg.no_scale_embedding,
        dropout=cfg.dropout,
        attention_dropout=cfg.attention_dropout,
        activation_dropout=cfg.activation_dropout,
        tie_word_embeddings=True,
        **sizes,
        **_TOKENS,
    )
    found = M2M100ForConditionalGeneration(config).eval()
    weights = {
        f"model.{name}": weight
        for name, weight in model.state_dict().items()
        if not is_buffer(name)
        and not name.endswith(("embed_tokens.weight", "output_projection.weight", MASK_SUFFIX))
    }
    shared = torch.cat([matrix, matrix[3].expand(words - known, -1)]).detach()
    embeddings = ("model.shared", "model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head")
    try:
        found.load_state_dict({**weights, **{f"{name}.weight": shared for name in embeddings}})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise IkdError(f"the model has other weights than this format can hold ({reason})") from error
    found.generation_config = _search_settings(known, words, Limits.of_model(model).longest_target)
    return found


def _search_settings(known: int, words: int, longest: int) -> "GenerationConfig":
    """What ``generate`` does: *known* words can come out, of a vocabulary of *words*, at most *longest*."""
    from transformers import GenerationConfig

    # fairseq's search: as many hypotheses as beams are finished, and the best by the mean of its words taken.
    # None is empty, has padding or does not end. What is behind the dictionary is left out, and the rest made
    # to sum to 1, as there, where however padding and an end at once belong to the rest.
    return GenerationConfig(
        num_beams=DEFAULT_SEARCH.beam,
        max_new_tokens=longest + 1,
        early_stopping=True,
        length_penalty=DEFAULT_SEARCH.lenpen,
        min_new_tokens=1,
        forced_eos_token_id=_TOKENS["eos_token_id"],
        suppress_tokens=[_TOKENS["pad_token_id"], *range(known, words)],
        renormalize_logits=words > known,
        **_TOKENS,
    )


def export_huggingface(
    checkpoint: str, output: str, facts: TextFacts, card: Card, name: str, others: str
) -> None:
    """Writes the folder *output*, which ``from_pretrained`` of ``transformers`` reads.

    Args:
        name, others: see :func:`check_expressible`.

    Raises:
        IkdError: the model is not one for this format, or the folder cannot be written.
    """
    check_expressible_facts(facts)
    with new_folder(output) as folder:
        _, model = load_model(checkpoint, facts)
        check_expressible(model, name, others)
        from transformers import PreTrainedTokenizerFast

        found = to_m2m100(model, len(vocabulary(facts)))
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=build_tokenizer(facts),
            bos_token=SPECIAL[0],
            pad_token=SPECIAL[1],
            eos_token=SPECIAL[2],
            unk_token=SPECIAL[3],
            model_max_length=int(model.encoder.max_positions()),
            clean_up_tokenization_spaces=False,
            split_special_tokens=True,  # what a user types is text
        )
        try:
            found.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001  those of safetensors and tokenizers for a full disk
            raise IkdError(f"{output} cannot be written ({error})") from error
        for file in os.listdir(folder):
            os.chmod(os.path.join(folder, file), 0o644)  # safetensors lets nobody else read its file
        write_card(folder, card, facts, for_transformers=True)


def check_expressible_facts(facts: TextFacts) -> None:
    """Refuses two dictionaries, where the layout has one. Raises :class:`IkdError`."""
    one = facts.source_words == facts.target_words
    check(
        one,
        "this format has one dictionary for both languages: prepare the data with --joined-dictionary",
    )
