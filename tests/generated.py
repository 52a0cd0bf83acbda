"""Three sentences as fairseq-generate prints them, and BLEU by a plain implementation."""

import math
from collections import Counter
from pathlib import Path

HYPOTHESES = [
    "ein mann fährt auf einem fahrrad durch die straße .",
    "Zwei Hunde spielen im hohen Gras mit einem Ball .",
    "eine frau liest",
]
REFERENCES = [
    "ein mann fährt auf einem roten fahrrad durch die straße .",
    "zwei hunde spielen im gras mit einem roten ball .",
    "eine frau liest ein buch .",
]
SOURCES = ["a man rides a bicycle .", "two dogs play .", "a woman reads ."]


def plain_bleu(hypotheses, references):
    """Papineni et al. 2002, on lower-cased tokens: clipped 4-gram precisions and brevity penalty."""
    matched, total, lengths = [0] * 4, [0] * 4, [0, 0]
    for hypothesis, reference in zip(hypotheses, references):
        hypothesis, reference = hypothesis.lower().split(), reference.lower().split()
        lengths[0] += len(hypothesis)
        lengths[1] += len(reference)
        for order in range(1, 5):
            ngrams, allowed = (
                Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))
                for words in (hypothesis, reference)
            )
            matched[order - 1] += sum(min(count, allowed[ngram]) for ngram, count in ngrams.items())
            total[order - 1] += sum(ngrams.values())
    brevity = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    return 100 * brevity * math.exp(sum(math.log(m / t) for m, t in zip(matched, total)) / 4)


def generate_text(ids=(2, 0, 1), details=True, log=(), hypotheses=HYPOTHESES):
    """What fairseq-generate prints for the sentences *ids*, in that order."""
    lines = ["2024-01-01 10:00:00 | INFO | fairseq_cli.generate | {'_name': None, 'task': ...}", *log]
    for place in ids:
        lines += [f"S-{place}\t{SOURCES[place]}", f"T-{place}\t{REFERENCES[place]}"]
        lines += [f"H-{place}\t-0.25\t{hypotheses[place]}"]
        lines += [f"D-{place}\t-0.25\t{hypotheses[place]}"] if details else []
        lines += [f"P-{place}\t-0.1 -0.2"]
    lines += ["2024-01-01 10:00:09 | INFO | fairseq_cli.generate | Translated 3 sentences (9 tokens) in 0.1s"]
    return "\n".join(lines + ["Generate test with beam=5: BLEU4 = 41.02, 70/50/30/20 (BP=1.000)", ""])


def write(path, text):
    Path(path).write_bytes(text.encode("utf-8"))
    return str(path)


def block(sentence: int, *hypotheses: str) -> str:
    """What fairseq-generate prints of a sentence, scores falling from -0.5."""
    lines = [f"S-{sentence}\tsource {sentence}", f"T-{sentence}\ttarget {sentence}"]
    for rank, text in enumerate(hypotheses):
        lines += [f"{kind}-{sentence}\t-{rank}.5\t{text}" for kind in "HD"] + [f"P-{sentence}\t-0.1 -0.2"]
    return "\n".join(lines) + "\n"
