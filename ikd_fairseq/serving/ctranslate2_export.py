"""A text-only model for CTranslate2, through its own loader of the M2M100 layout."""

from types import SimpleNamespace

from ..errors import check
from ..io.atomic import new_folder
from .checkpoint_engine import load_model
from .folder import Limits, write_facts
from .huggingface import check_expressible, check_expressible_facts, to_m2m100
from .model_card import Card, write_card
from .text import SPECIAL, TextFacts


def export_ctranslate2(
    checkpoint: str,
    output: str,
    facts: TextFacts,
    card: Card,
    name: str,
    others: str,
    quantization: str | None = None,
) -> None:
    """Writes the folder *output*, which CTranslate2 and ``ikd-translate`` read.

    Args:
        name, others: see :func:`.check_expressible`.
        quantization: the type that weights are stored as, such as int8.

    Raises:
        IkdError: the model is not one for this format, or the folder cannot be written.
    """
    from ctranslate2.converters.transformers import M2M100Loader

    check_expressible_facts(facts)
    with new_folder(output) as folder:
        _, model = load_model(checkpoint, facts)
        check_expressible(model, name, others)
        words = [*SPECIAL, *facts.source_words]
        # What CTranslate2's loader asks of a tokenizer, which for this engine is the dictionary.
        dictionary = SimpleNamespace(
            get_vocab=lambda: {word: number for number, word in enumerate(words)},
            convert_ids_to_tokens=words.__getitem__,
            bos_token=SPECIAL[0],
            eos_token=SPECIAL[2],
            unk_token=SPECIAL[3],
            unk_token_id=3,
            special_tokens_map={},
        )
        check(len(set(words)) == len(words), "the dictionary has a word twice: prepare the data again")
        spec = M2M100Loader()(to_m2m100(model), dictionary)
        spec.config.add_source_eos = True
        spec.validate()
        spec.optimize(quantization=quantization)
        spec.save(folder)
        write_facts(folder, facts, Limits.of_model(model))
        write_card(folder, card, facts)
