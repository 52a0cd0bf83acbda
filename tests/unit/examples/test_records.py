"""What RESULTS.md says of converged runs is what their records say, which lie beside it."""

from pathlib import Path
from statistics import fmean, stdev

import pytest

from ikd_fairseq.cli.table import main
from ikd_fairseq.experiments.record import Record, find_records

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "multi30k"
RECORDS = find_records([FOLDER / "records"])
PLANS = sorted(folder.name for folder in (FOLDER / "records").iterdir())


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_published_figures_are_those_of_the_record(record: Record):
    published = (FOLDER / "RESULTS.md").read_text(encoding="utf-8")
    scores = [score for of_split in record.scores.values() for score in of_split]
    assert len(scores) == 4  # of every sentence of three test sets, and of those of one that have an image
    for score in scores:
        bleu, chrf, meteor = (score.metrics[key].value for key in ("bleu", "chrf", "meteor"))
        assert f"| {bleu:.2f} ({chrf:.2f}, {meteor:.2f}) |" in published


@pytest.mark.parametrize("name", PLANS)
def test_records_alone_make_their_plans_table(name: str, tmp_path: Path):
    plan, records = FOLDER / "plans" / f"{name}.yaml", FOLDER / "records" / name
    made = tmp_path / "table.md"
    assert main([str(records), "--plan", str(plan), "--output", str(made)]) is None
    table = made.read_text(encoding="utf-8")
    published = (FOLDER / "RESULTS.md").read_text(encoding="utf-8")
    runs = find_records([records])
    for system in {record.system for record in runs}:
        seeds = [record for record in runs if record.system == system]
        for split in ("test", "test1", "test2"):
            found = [record.score(split).metrics["bleu"].value for record in seeds]
            spread = f" ± {stdev(found):.2f}" if len(found) > 1 else ""
            assert f"| {fmean(found):.2f}{spread} |" in table
            assert not spread or f"| {fmean(found):.2f}{spread} |" in published
