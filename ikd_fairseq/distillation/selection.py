"""Which hypothesis of a teacher becomes the target of a sentence (Kim and Rush 2016).

``best`` is sequence-level distillation (Seq-KD, section 3.2): the best hypothesis of the teacher's beam
search. ``closest`` is sequence-level interpolation (Seq-Inter, section 3.3): the hypothesis of the n-best
list that is closest to the reference, by smoothed sentence-level BLEU.
"""

from collections.abc import Sequence
from typing import Any

from ..errors import IkdError, check
from ..evaluation.metrics import closest
from ..evaluation.translations import ordered_sentences
from ..io.generate_output import GenerateOutput
from ..io.progress import progress
from .text_split import Split

BEST, CLOSEST = "best", "closest"


def nbest_lists(output: GenerateOutput, sentences: int, count: int) -> list[list[str]]:
    """The *count* best hypotheses, in subwords, of every sentence from 0 to *sentences* - 1.

    Raises:
        IkdError: a sentence is missing or unknown, or has fewer hypotheses or an empty one.
    """
    files = ", ".join(sorted(set(output.files.values())))
    lists = ordered_sentences(output.raw, sentences, files, "hypotheses (H- lines)", output.skipped)
    for sentence, hypotheses in enumerate(lists):
        file, where = output.files[sentence], f"sentence {sentence} (from 0)"
        few = f"{file}: {where} has {len(hypotheses)} hypotheses and {count} are asked for"
        check(len(hypotheses) >= count, f"{few}: generate with --nbest {count}, or ask for fewer")
        rank = next((rank for rank, text in enumerate(hypotheses[:count], start=1) if not text), None)
        check(
            rank is None,
            f"{file}: hypothesis {rank} of {where} is empty, which teaches nothing: generate with a "
            f"--min-len of at least 1 (fairseq's default), or ask for an --nbest below {rank} if that is "
            "above 1",
        )
    return [hypotheses[:count] for hypotheses in lists]


def check_sources(split: Split, output: GenerateOutput) -> None:
    """Refuses translations of other sentences than those of *split*, where the output holds its sources."""
    sources = split.token_ids(split.source)
    for sentence, text in output.sources.items():
        if text != split.source_dictionary.string(sources[sentence]):
            raise IkdError(
                f"{output.files[sentence]}: sentence {sentence} (from 0) is not that of {split.prefix} "
                f"({text!r}): give the output for this data, with BPE left in"
            )


def select_targets(
    split: Split, lists: Sequence[Sequence[str]], select: str
) -> tuple[list[list[int]], dict[str, Any]]:
    """Chooses a hypothesis of every n-best list.

    Args:
        split: where the references are.
        lists: n hypotheses, in subwords, for every sentence in order.
        select: "best" or "closest".

    Returns:
        Token numbers with the end of sentence, by sentence; and counts for log and record: sentences, their
        length over that of the references (in subwords, over the whole split), the share that equals the
        reference, unknown words (``<unk>``, the teacher's own), and for ``closest`` the mean sentence-level
        BLEU of the first and of the selected ones.

    Raises:
        IkdError: a chosen hypothesis holds what is no word of the target dictionary.
    """
    targets, references = [], split.token_ids(split.target)
    dictionary = split.target_dictionary
    tokens = reference_tokens = equal = unknown = 0
    bleu = first_bleu = 0.0
    for sentence, hypotheses in enumerate(progress(lists, desc="selecting", unit=" sentences")):
        rank, reference = 0, references[sentence]
        if select == CLOSEST:
            # As in T- lines, a word that the dictionary lacks is written so that no hypothesis matches it.
            choice = closest(hypotheses, dictionary.string(reference, escape_unk=True))
            rank = choice.rank
            bleu, first_bleu = bleu + choice.bleu, first_bleu + choice.first_bleu
        target = split.target_ids(hypotheses[rank], f"hypothesis {rank + 1} of sentence {sentence} (from 0)")
        targets.append(target)
        tokens += len(target) - 1
        reference_tokens += len(reference) - 1
        equal += target == reference.tolist()
        unknown += target.count(dictionary.unk())
    counts: dict[str, Any] = {
        "sentences": len(lists),
        "length_ratio": round(tokens / max(1, reference_tokens), 4),
        "equal_to_reference": round(equal / len(lists), 4),
        "unknown_words": unknown,
    }
    if select == CLOSEST:
        counts["sentence_bleu_of_first"] = round(first_bleu / len(lists), 2)
        counts["sentence_bleu_of_selected"] = round(bleu / len(lists), 2)
    return targets, counts
