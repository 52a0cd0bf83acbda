"""What the generated regions do in a trained model: are they looked at, do they differ, are they missed?

Peng et al. 2022 ask in Table 4 what a generated feature resembles, but not what becomes of it. Here every
sentence of the split is read once more with its reference as the target, with the regions and without:

- the share of the decoder's attention that falls on the P regions, layer by layer, a mean over target words,
  heads and sentences, beside the share P/(I+P) that they would have if all positions weighed alike, and the
  number that was added to their logits, where the model learnt one (``--region-bias``);
- the share of the regions' variance that lies between sentences. The rest tells one region from the next in
  the same way for every sentence, and says nothing of any;
- bits a target token.

Then it is translated three times: with the regions, with the regions hidden from the decoder, and by the
ensemble of both views. BLEU is tested against that of the first by paired bootstrap. A model that was not
trained with some of its sentences' regions hidden (``--region-dropout``) has never seen the second view.
"""

import math
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from fairseq.data import LanguagePairDataset
from torch import Tensor

from ..errors import check
from ..evaluation.metrics import make_scorers
from ..evaluation.significance import Comparison, compare_runs
from ..io.progress import progress
from ..modules.region_bias import RegionBias
from ..modules.search import batches
from .attention import head_weights
from .features import GENERATING, Trained, load_sentences, load_trained
from .output import Table, check_folder, write_files
from .translation import references_of, translate

VIEWS = {"shown": "shown", "hidden": "hidden", "ensemble": "ensemble of both"}


class Spread:
    """Variance of values of P regions over sentences, by region and channel, one batch after the other."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, values: Tensor) -> None:
        """*values*: ``B x P x C``."""
        values = values.double().cpu()
        self.count += len(values)
        self.total = self.total + values.sum(dim=0)
        self.squares = self.squares + values.square().sum(dim=0)

    def between_sentences(self) -> float:
        """Of the variance of each channel over sentences and regions, the share that is over sentences."""
        means = self.total / self.count  # P x C
        squares = self.squares / self.count
        own = (squares - means.square()).mean(dim=0)
        whole = squares.mean(dim=0) - means.mean(dim=0).square()
        return float(own.sum() / whole.sum())


class Reading:
    """What is counted while a model reads sentences with their references."""

    def __init__(self, layers: int) -> None:
        self.attention = [0.0] * layers  # on regions, summed over target tokens
        self.uniform = 0.0
        self.tokens = 0
        self.bits = {"shown": 0.0, "hidden": 0.0}
        self.feature, self.encoded = Spread(), Spread()


@torch.no_grad()
def read(trained: Trained, dataset: LanguagePairDataset, max_tokens: int) -> Reading:
    """Reads all of *dataset*. Raises :class:`IkdError`: a sentence is too long."""
    model, padding = trained.model, trained.task.target_dictionary.pad()
    reading = Reading(len(model.decoder.layers))
    longest = model.encoder.max_positions()
    with progress(None, total=len(dataset), desc="read", unit=" sentences") as bar:
        for batch in batches(dataset, range(len(dataset)), max_tokens, longest):
            target = batch["target"].to(trained.device)
            inputs = {key: value.to(trained.device) for key, value in batch["net_input"].items()}
            counted = target.ne(padding)
            with ExitStack() as stack:
                weights = [
                    stack.enter_context(head_weights(layer.encoder_attn)) for layer in model.decoder.layers
                ]
                logits = {"shown": model(**inputs, hide_regions=False)[0]}
            encoded = model.encoder(inputs["src_tokens"], inputs["src_lengths"], hide_regions=False)
            logits["hidden"] = model(**inputs, hide_regions=True)[0]
            for view, found in logits.items():
                log_probs = found.float().log_softmax(dim=-1).gather(2, target.unsqueeze(2)).squeeze(2)
                reading.bits[view] -= float(log_probs[counted].sum()) / math.log(2)
            regions = encoded["regions"][0]
            count = regions.size(1)
            for layer, (of_layer,) in enumerate(weights):  # heads x B x J x (I+P)
                on_regions = of_layer[..., -count:].sum(dim=-1).mean(dim=0)
                reading.attention[layer] += float(on_regions[counted].sum())
            words = encoded["src_lengths"][0].to(counted.device).expand_as(counted)
            reading.uniform += float((count / (count + words))[counted].sum())
            reading.tokens += int(counted.sum())
            reading.feature.add(regions)
            reading.encoded.add(encoded["encoder_out"][0][-count:].transpose(0, 1))
            bar.update(len(target))
    return reading


def biases(trained: Trained) -> list[float | None]:
    """What is added to the regions' logits in each layer of the decoder; None where nothing is."""
    found = []
    for layer in trained.model.decoder.layers:
        bias = getattr(layer.encoder_attn, "region_bias", None)
        learned = isinstance(bias, RegionBias)
        found.append(float(bias.offset) - math.log(max(1, bias.regions)) if learned else None)
    return found


def translations(
    trained: Trained, dataset: LanguagePairDataset, beam: int, max_tokens: int
) -> dict[str, list[str]]:
    """By view, a key of :data:`VIEWS`."""
    found, before = {}, trained.model.encoder.regions_at_test
    try:
        for view in VIEWS:
            trained.model.encoder.regions_at_test = view
            sentences = range(len(dataset))
            found[view] = translate(trained, dataset, sentences, beam, max_tokens, f"regions {view}")
    finally:
        trained.model.encoder.regions_at_test = before
    return found


def table_of(
    reading: Reading, added: Sequence[float | None], found: dict[str, list[str]], comparison: Comparison
):
    """The table, a line a figure."""
    rows: list[tuple] = []
    for number, (attention, bias) in enumerate(zip(reading.attention, added), start=1):
        rows.append(
            (f"decoder layer {number}: attention on regions, %", 100 * attention / reading.tokens, "")
        )
        if bias is not None:
            rows.append((f"decoder layer {number}: added to their logits", bias, ""))
    rows.append(("if all positions weighed alike, %", 100 * reading.uniform / reading.tokens, ""))
    for name, spread in (("generated", reading.feature), ("encoded", reading.encoded)):
        rows.append(
            (f"variance of {name} regions between sentences, %", 100 * spread.between_sentences(), "")
        )
    for view, bits in reading.bits.items():
        rows.append((f"bits a token, regions {view}", bits / reading.tokens, ""))
    for view, outcome in comparison.outcomes.items():
        p = outcome.p_values[0] if outcome.p_values else ""
        rows.append((f"BLEU, regions {VIEWS[view]}", outcome.scores[0], p))
        if view != "shown":
            changed = 100 * statistics.mean(map(str.__ne__, found[view], found["shown"]))
            rows.append((f"translations that change, regions {VIEWS[view]}, %", changed, ""))
    return Table(["what", "value", "p"], rows)


def run(
    *, split: str, output: str, max_tokens: int, beam: int, references: str | None = None, **model: Any
) -> Table:
    """Writes ``regions.tsv``, ``regions.json`` and the translations, ``regions.VIEW.txt``. Needs no images.

    BLEU is that of ``ikd-score --preset tokenised``.
    """
    check_folder(output)
    trained = load_trained(**model, architecture=GENERATING)
    check(
        trained.model.hides_regions,
        f"{model['checkpoint']} was trained with --no-text, so that nothing is left without its regions: "
        "give one that was not",
    )
    dataset = load_sentences(trained, split)
    wanted = references_of(trained, dataset, split, references)
    check(
        dataset.tgt is not None,
        f"{split} in {trained.data} has no translations to read: give a split that has some",
    )
    reading = read(trained, dataset, max_tokens)
    added = biases(trained)
    found = translations(trained, dataset, beam, max_tokens)
    comparison = compare_runs(
        {view: [lines] for view, lines in found.items()}, wanted, make_scorers(metrics=["bleu"])
    )["bleu"]
    table = table_of(reading, added, found, comparison)
    report = {
        **{"checkpoint": model["checkpoint"], "data": trained.data, "split": split, "beam": beam},
        **{"figures": {name: value for name, value, _ in table.rows}, "comparison": comparison.as_json()},
    }
    texts = {f"regions.{view}.txt": lines for view, lines in found.items()}
    write_files(output, {"regions.tsv": table, "regions.json": report, **texts})
    return table
