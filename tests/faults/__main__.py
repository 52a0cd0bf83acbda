"""The long run: every bad input, many kills, full disks and races, and a table of what was found.

    python -m tests.faults --results FOLDER --markdown docs/reliability.md

Results are kept in FOLDER as they come; the same command goes on where it was stopped. Run it on a machine
with nothing else to do: what takes longer than a minute counts as hanging.
"""

import argparse
import collections
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults.bad_inputs import KINDS, all_bad_inputs
from tests.faults.interruptions import WAYS, WRITERS, Counts, Trials
from tests.faults.judge import ACCEPTED, VERDICTS, WELL, judge
from tests.faults.workbench import copy_workbench, make_workbench
from tests.integration.command_line import warm_process

BEGIN, END = "<!-- tables: python -m tests.faults -->", "<!-- end of the tables -->"


def judge_number(bench: Path, number: int) -> dict[str, Any]:
    """Judges one bad input of the list, in a scratch folder of its own."""
    bad = all_bad_inputs(bench)[number]
    with tempfile.TemporaryDirectory(prefix="ikd-fault-") as scratch:
        judgement = judge(bad, copy_workbench(bench, Path(scratch) / "bench"))
    return {"input": str(bad), "kind": bad.kind, "verdict": judgement.verdict, "said": judgement.said}


def interrupt(bench: Path, name: str, way: str, trials: int | None, seed: int) -> dict[str, Any]:
    """Interrupts one writer *trials* times in one way; None: at all of its moments, twice."""
    warm_process()  # else the first duration is that of starting it
    with tempfile.TemporaryDirectory(prefix="ikd-fault-") as scratch:
        found = Trials(WRITERS[name], bench, Path(scratch) / "bench", seed)
        for _ in range(2 * len(found.moments) if trials is None else trials):
            WAYS[way](found)
    return {"writer": name, "way": way, **asdict(found.counts), "notes": found.notes}


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    head = list(head)
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell or "") for cell in row) + " |"


def tables(results: list[dict[str, Any]]) -> list[str]:
    """The Markdown tables of all *results*, with the faults in words below."""
    verdicts: dict[str, collections.Counter] = {kind: collections.Counter() for kind in KINDS}
    for result in results:
        if "verdict" in result:
            verdicts[result["kind"]][result["verdict"]] += 1
    total = sum(verdicts.values(), collections.Counter())
    rows = [[kind, counts.total(), *(counts[v] for v in VERDICTS)] for kind, counts in verdicts.items()]
    rows.append(["all", total.total(), *(total[v] for v in VERDICTS)])
    lines = [*_table(["bad input", "n", *VERDICTS], rows), ""]
    names = list(Counts.__dataclass_fields__)
    interrupted = [result for result in results if "writer" in result]
    rows = [[r["writer"], r["way"], *(r[name] for name in names)] for r in interrupted]
    rows.append(["all", "", *(sum(r[name] for r in interrupted) for name in names)])
    lines += [*_table(["command", "", *(name.replace("_", " ") for name in names)], rows), ""]
    bad = [r for r in results if r.get("verdict", WELL) not in (WELL, ACCEPTED)]
    lines += [f"- {r['verdict']}: {r['input']}" for r in bad]
    lines += [f"- {r['writer']}, {r['way']}: {len(r['notes'])} faults" for r in interrupted if r["notes"]]
    return lines


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--results", type=Path, required=True, metavar="FOLDER", help="where results are kept as they come")
    each = "of every writing command (default: before all of its changes, over older output and over none)"
    add("--kills", type=int, metavar="N", help=each)
    add("--others", type=int, default=10, help="full disks and races of every one (default: 10)")
    add("--inputs", nargs="*", choices=list(KINDS), default=list(KINDS), help="kinds of bad inputs")
    add(
        "--share",
        type=float,
        default=1.0,
        help="of the bad inputs of each kind, drawn by --seed (default: all)",
    )
    add("--writers", nargs="*", choices=list(WRITERS), default=list(WRITERS))
    add("--seed", type=int, default=1)
    add("--jobs", type=int, default=2, metavar="N", help="processes at once (default: 2)")
    add("--markdown", type=Path, metavar="FILE", help="page whose tables are replaced")
    return parser


def main() -> int:
    args = build_parser().parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    kept = args.results / "results.jsonl"
    results = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    bench = args.results / "workbench"
    if not (args.results / "workbench.complete").exists():
        shutil.rmtree(bench, ignore_errors=True)
        bench.mkdir()
        make_workbench(bench)
        (args.results / "workbench.complete").touch()
    known = {result.get("input") or (result["writer"], result["way"]) for result in results}
    choose = random.Random(args.seed)
    inputs = []
    for number, bad in enumerate(all_bad_inputs(bench)):
        drawn = choose.random() < args.share
        if drawn and bad.kind in args.inputs and str(bad) not in known:
            inputs.append(number)
    with ProcessPoolExecutor(args.jobs) as pool, kept.open("a") as stream:
        jobs = [pool.submit(judge_number, bench, number) for number in inputs]
        for name in args.writers:
            for way in WAYS:
                if (name, way) not in known:
                    n = args.kills if way == "killed" else args.others
                    jobs.append(pool.submit(interrupt, bench, name, way, n, args.seed))
        try:
            for number, job in enumerate(jobs):
                result = job.result()
                results.append(result)
                stream.write(json.dumps(result) + "\n")
                stream.flush()
                print(f"{number + 1}/{len(jobs)}", result.get("input") or result["writer"], file=sys.stderr)
        finally:
            pool.shutdown(cancel_futures=True)
    text = "\n".join(tables(results))
    print(text)
    if args.markdown:
        page = args.markdown.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        after = rest.partition(END)[2]
        args.markdown.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
