"""Early stopping goes on counting where a training was cut off.

fairseq counts for ``--patience`` in attributes of its function ``should_stop_early``, which no checkpoint
holds: a training that goes on would begin to count anew. It calls the function before it saves, so that the
task's state can say what has been counted up to that checkpoint.
"""

import logging
import sys
from collections.abc import Mapping
from typing import Any

from ..constants import EARLY_STOPPING

logger = logging.getLogger(__name__)

_COUNTED = ("best", "num_runs", "metric")  # the best value of a validation, how many there were since; ours


def _decision() -> Any:
    """fairseq's function; None where nothing trains. ``python -m fairseq_cli.train`` is the main module."""
    modules = map(sys.modules.get, ("__main__", "fairseq_cli.train"))
    return next(filter(None, (getattr(module, "should_stop_early", None) for module in modules)), None)


def counted() -> dict[str, dict[str, Any]]:
    """An entry for the state of the task; none before the first validation, and without ``--patience``."""
    values = {name: getattr(_decision(), name, None) for name in _COUNTED}
    return {} if None in values.values() else {EARLY_STOPPING: values}


def go_on_counting(settings: Any, before: Mapping[str, Any] | None) -> None:
    """Counts on from *before*, what had been counted at the checkpoint that training goes on from, if any.

    Args:
        settings: fairseq's options of checkpoints.

    Raises:
        SystemExit: with status 0: the patience is at its end. fairseq would train up to the next validation
            and write its checkpoints anew.
    """
    decision, metric = _decision(), settings.best_checkpoint_metric
    if decision is None or settings.patience <= 0:
        return
    decision.metric = metric
    if before is None or before["metric"] != metric:  # values of two metrics do not compare
        return
    decision.best, decision.num_runs = before["best"], before["num_runs"]
    if decision.num_runs >= settings.patience:
        message = "%d validations have brought no better %s than %s, and --patience is %d: done"
        logger.info(message, decision.num_runs, metric, decision.best, settings.patience)
        raise SystemExit(0)
