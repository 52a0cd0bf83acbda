"""The model card of an exported model: languages, licence of the data, scores, intended use."""

import os
from dataclasses import dataclass, field

from ..experiments.record import ALL, FILE, Record, Score
from ..io.checksums import sha256_of_file
from .text import MOSES, TextFacts


@dataclass(frozen=True)
class Card:
    """What a card says that the model itself does not.

    Attributes:
        title: the name of the model.
        system: what was trained.
        data_licence: the terms of the training data; empty where nobody said.
        scores: of splits, as a run's record has them.
    """

    title: str
    system: str
    data_licence: str = ""
    scores: dict[str, Score] = field(default_factory=dict)

    @classmethod
    def of_checkpoint(cls, checkpoint: str, title: str, system: str, data_licence: str = "") -> "Card":
        """A card with the scores that the record beside the checkpoint, if there is one, has of it.

        Raises:
            IkdError: the record is damaged.
        """
        run = os.path.dirname(checkpoint) or "."
        scores = {}
        if os.path.isfile(os.path.join(run, FILE)):
            record, digest = Record.load(run), sha256_of_file(checkpoint)
            found = {split: score for split in record.scores if (score := record.score(split, ALL))}
            # Scores of older records are of the checkpoint that was scored last.
            last = record.model.get("checkpoint") in (None, os.path.basename(checkpoint))
            scores = {
                split: score
                for split, score in found.items()
                if (score.checkpoint == digest if score.checkpoint else last)
            }
        return cls(title, system, data_licence, scores)


_CARD = """\
---
language:
- {source}
- {target}
pipeline_tag: translation
tags:
- translation
- ikd-fairseq
---

# {title}

Translates {source} to {target}. A `{system}` of ikd-fairseq{layout}.

## Text

The model reads {casing}, {words}{subwords}.
{preparing}

```python
{example}```

Its search is that of fairseq-generate: beam 5, scores divided by the length.

## Data

{data}

## Scores

{scores}

## Intended use

Research in translation of text like that of its training. It has learnt nothing else, and has not been
checked for bias: do not rely on its translations where a mistake does harm.
"""
_PREPARATION = """\
from sacremoses import MosesPunctNormalizer, MosesTokenizer

normalizer, moses = MosesPunctNormalizer({source!r}), MosesTokenizer({source!r})
text = moses.tokenize(normalizer.normalize("A sentence."{lower}), return_str=True{escape})

"""
_TRANSFORMERS = """\
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForSeq2SeqLM.from_pretrained("FOLDER")
batch = tokenizer([{sentence}], return_tensors="pt", padding=True)
print(tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True))
"""
_OURS = """\
from ikd_fairseq.serving.translator import SentenceTranslator

translator = SentenceTranslator.load("FOLDER")
print(translator.translate(["A sentence."])[0][0].text)
"""


def write_card(folder: str, card: Card, facts: TextFacts, for_transformers: bool = False) -> None:
    """Writes :func:`card_text` where model hubs look for it, ``FOLDER/README.md``."""
    with open(os.path.join(folder, "README.md"), "w", encoding="utf-8") as stream:
        stream.write(card_text(card, facts, for_transformers))


def card_text(card: Card, facts: TextFacts, for_transformers: bool = False) -> str:
    """The card as Markdown, with the front matter that model hubs read.

    Args:
        for_transformers: whether the example is for ``transformers``, or for this package.
    """
    moses = facts.tokenizer == MOSES
    lower = ".lower()" if facts.lowercase else ""
    rows = [
        f"| {split} | {metric.name} | {metric.value:.2f} | {score.beam} | {score.sentences.count} | "
        f"`{metric.signature}` |"
        for split, score in sorted(card.scores.items())
        for metric in score.metrics.values()
    ]
    escape = "" if facts.escapes else ", escape=False"
    example = _PREPARATION.format(source=facts.source, lower=lower, escape=escape) if moses else ""
    example += _TRANSFORMERS.format(sentence="text" if moses else '"words parted by spaces"')
    head = "| split | metric | value | beam | sentences | signature |\n|---|---|---|---|---|---|\n"
    licence = card.data_licence or "not stated: ask whoever trained the model before you pass it on"
    return _CARD.format(
        source=facts.source,
        target=facts.target,
        title=card.title,
        system=card.system,
        layout=", in the M2M100 layout" if for_transformers else "",
        casing="lower-cased text" if facts.lowercase else "text with its capitals",
        words="tokenised by Moses after its normalisation of punctuation"
        if moses
        else "in words parted by spaces",
        subwords=", in subwords of subword-nmt" if facts.merges else "",
        preparing="The text has to come so, except for subwords:" if for_transformers else "It comes plain:",
        example=example if for_transformers else _OURS,
        data=f"Licence of the training data: {licence}.",
        scores=head + "\n".join(rows) if rows else "None are recorded.",
    )
