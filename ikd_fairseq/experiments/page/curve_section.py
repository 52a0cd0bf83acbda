"""Learning curves: a chart a term of the loss, and the last values in a table."""

from collections.abc import Iterable, Mapping, Sequence

from .charts import Line, legend, line_chart
from .document import ABSENT, Section, number
from .markup import Html, join, table, tag
from .runs import Systems
from .training_log import TERMS, TRAIN, VALID, TrainingLog

_INTRODUCTION = (
    "Means over the validation set and, thin and faint, those over each epoch of training, where dropout is "
    "on. Every run has its line; runs of one system look alike."
)


def curve_section(systems: Systems) -> Section:
    """The section; *systems* are runs by system."""
    logs: dict[str, dict[str, TrainingLog]] = {
        name: {run.name: run.log for run in own if run.log and run.log.curves[VALID]}
        for name, own in systems.items()
    }
    terms = _terms(log for own in logs.values() for log in own.values())
    missing = [run.name for name, own in systems.items() for run in own if run.name not in logs[name]]
    content: list[Html] = []
    if terms:
        content += [
            tag("p", _INTRODUCTION),
            legend(list(systems)),
            tag("div", *(_chart(term, logs) for term in terms), class_="charts"),
            _last_values(terms, logs),
        ]
    if missing:
        names = ", ".join(missing)
        content.append(tag("p", f"There is no curve of {names}: no train.log with a validation in it."))
    return Section("curves", "Learning curves", join(content))


def _terms(logs: Iterable[TrainingLog]) -> list[str]:
    """All terms that are validated, known ones first."""
    found = dict.fromkeys(name for log in logs for name in log.curves[VALID])
    return [name for name in TERMS if name in found] + [name for name in found if name not in TERMS]


def _chart(term: str, logs: Mapping[str, Mapping[str, TrainingLog]]) -> Html:
    lines, told = [], []
    for series, (name, own) in enumerate(logs.items()):
        for log in own.values():
            if term in log.curves[TRAIN]:
                lines.append(Line(log.curves[TRAIN][term], series, faint=True))
            if term in log.curves[VALID]:
                curve = log.curves[VALID][term]
                lines.append(Line(curve, series))
                told.append(f"{name} from {curve[0][1]:g} to {curve[-1][1]:g}")
    lines.sort(key=lambda line: not line.faint)  # what is faint lies below
    title = TERMS.get(term, term)
    label = f"{title}, over updates, in validation: {'; '.join(told)}"
    return tag("figure", tag("h3", title, " ", tag("code", term)), line_chart(label, lines, "updates"))


def _last_values(terms: Sequence[str], logs: Mapping[str, Mapping[str, TrainingLog]]) -> Html:
    rows = []
    for own in logs.values():
        for name, log in own.items():
            curves = [log.curves[VALID].get(term) for term in terms]
            values = (number(curve[-1][1], 3) if curve else ABSENT for curve in curves)
            rows.append([name, f"{log.updates:,}", *values])
    columns = ["run", "updates", *(tag("code", term) for term in terms)]
    return table("last-values", "Last validation of each run", columns, rows, right=range(1, len(columns)))
