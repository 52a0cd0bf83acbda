"""Options of ``fairseq-train``: the plugin's own for a system, with their defaults, and those of plans.

``fairseq-train --help`` ends before it reads ``--arch`` and ``--criterion``, so that it never shows them.
"""

import functools
import textwrap
from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Any, NoReturn, get_args

from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.models import MODEL_DATACLASS_REGISTRY
from fairseq.options import get_training_parser, parse_args_and_arch
from fairseq.tasks import TASK_DATACLASS_REGISTRY

from ..errors import IkdError
from ..modules.options import is_own
from ..vision.backbones import get_backbone
from .plan import Plan
from .systems import System

_TASK = "multimodal_translation"


def option_help(system: System) -> Iterator[str]:
    """Lines of text: the options of task, architecture and criterion, those of fairseq's own left out."""
    named = dict(zip(system.train_options[::2], system.train_options[1::2]))
    parts = {"task": TASK_DATACLASS_REGISTRY, "arch": MODEL_DATACLASS_REGISTRY}
    for part, registry in {**parts, "criterion": CRITERION_DATACLASS_REGISTRY}.items():
        name = named.get(f"--{part}", _TASK)
        own = [field for field in fields(registry[name]) if is_own(field)]
        if own:
            yield f"--{part} {name}"
        for field in own:
            yield f"  --{field.name.replace('_', '-')}{_value(field)}"
            yield textwrap.fill(
                field.metadata["help"], 106, initial_indent=" " * 4, subsequent_indent=" " * 4
            )


def check_options(plan: Plan) -> None:
    """Refuses a plan with options that ``fairseq-train`` would refuse, for some row hours after the first.

    Raises:
        IkdError: an option is unknown, or its value none that it takes.
    """
    for row in plan.rows:
        parser = get_training_parser(_TASK)
        parser.error = functools.partial(_refuse, f"{plan.file}, {row.system.name}")
        words = ["data", *row.system.train_options, *row.system.protocol(), *row.options]
        if backbone := getattr(parse_args_and_arch(parser, words), "backbone", None):
            get_backbone(backbone)


def _refuse(where: str, message: str) -> NoReturn:
    said = message if len(message) < 300 else message.partition(" (choose from")[0]  # of --arch, hundreds
    raise IkdError(f"{where}: fairseq-train does not take its options ({said}): mend them")


def _value(field: Field[Any]) -> str:
    """What the option takes, and its default."""
    if field.type is bool:
        return " (default: on)" if field.default else ""
    kind: Any = field.type
    choices = [choice.value for choice in kind] if hasattr(kind, "__members__") else []
    plain, *_ = [*get_args(kind), kind]  # that of Optional[...]
    taken = "|".join(choices) or plain.__name__.upper()
    return f" {taken}" + ("" if field.default in (None, "") else f" (default: {field.default})")
