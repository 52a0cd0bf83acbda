"""The plugin registers whatever is imported first, and what needs no fairseq loads none."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.command_line import CHECKOUT, ENVIRONMENT, IKD, TASK, arguments, refusal

PACKAGE = CHECKOUT / "ikd_fairseq"
# Prints what of the plugin fairseq knows.
REGISTERED = """
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY
known = {**CRITERION_REGISTRY, **ARCH_MODEL_REGISTRY, **TASK_REGISTRY}
ours = [name for name, kind in known.items() if kind.__module__.startswith("ikd_fairseq.")]
assert {"inversion_distillation", "word_distillation", "auxiliary_losses"} <= set(ours), ours
assert {"ikd_transformer", "gated_fusion_tiny", "multimodal_translation"} <= set(ours), ours
"""


def fresh(code: str, cwd: Path = CHECKOUT) -> str:
    """What *code* prints in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize(
    "first",
    [
        "import ikd_fairseq; import fairseq",
        "import fairseq; import ikd_fairseq",
        "from ikd_fairseq.data.pairs.image_pair_dataset import ImagePairDataset",
    ],
)
def test_plugin_is_registered_whatever_is_imported_first(first):
    fresh(first + "\n" + REGISTERED)


def test_command_of_fairseq_registers_the_folder_that_it_is_given(tmp_path):
    """Its options are those of the plugin's task, model and criterion, and its error hook is in place."""
    options = f"--require-images --batch-size 4 --save-dir {tmp_path}"
    command = [sys.executable, "-m", "fairseq_cli.train", *arguments("no-such-folder", TASK, IKD, options)]
    done = subprocess.run(command, cwd=CHECKOUT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1 and "no-such-folder" in refusal(done.stderr)


def test_script_that_imports_the_plugin_may_name_its_folder_too(trained, tmp_path):
    # The image-free model of the hub first of all, then fairseq's own main in the same process.
    hub = f"""
from ikd_fairseq.models.ikd_transformer import IKDTransformerModel
model = IKDTransformerModel.from_pretrained({str(trained.folder)!r}, "checkpoint_last.pt",
                                            data_name_or_path={str(trained.data)!r})
assert model.translate("red ball here", beam=1)
"""
    main = f"""
import sys
import ikd_fairseq
from fairseq_cli.validate import cli_main
sys.argv = ["fairseq-validate", {str(trained.data)!r}, *{arguments(TASK)!r}, "--path", {str(trained.last)!r},
            "--valid-subset", "valid", "--batch-size", "4", "--cpu"]
cli_main()
"""
    fresh(hub + main, cwd=tmp_path)


def test_spawned_workers_know_the_plugin():
    fresh(f"""
import multiprocessing
from ikd_fairseq.models.ikd_transformer import IKDTransformerModel
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(getattr, (IKDTransformerModel, "__name__")) == "IKDTransformerModel"
        pool.apply(exec, ({REGISTERED!r}, {{}}))
""")


@pytest.mark.parametrize(
    "module", ["", ".contracts", ".cli.user_dir", ".data.image_pack", ".data.feature_pack", ".vision.weights"]
)
def test_what_needs_no_fairseq_loads_none(module):
    fresh(f"import ikd_fairseq{module}, sys; assert 'fairseq' not in sys.modules")


@pytest.mark.parametrize("command", ["record", "report", "score", "systems", "table", "user_dir"])
def test_help_of_a_command_that_needs_no_fairseq_comes_without_torch(command):
    shown = fresh(f"""
import sys
from ikd_fairseq.cli.{command} import main
try:
    main(["--help"])
except SystemExit:
    print({{"torch", "fairseq"}} & set(sys.modules))
""")
    assert shown.startswith("usage: ") and shown.splitlines()[-1] == "set()"


def test_rooms_of_registered_parts_bring_fairseq_first():
    """By one line each: which of them is imported first does not matter, as the test above sees of one."""
    for room in ("compression", "criterions", "data/pairs", "distillation", "models", "modules", "tasks"):
        lines = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")).body
        first = next(node for node in lines if isinstance(node, ast.Import | ast.ImportFrom))
        assert [name.name for name in first.names] == ["needs_fairseq"], room


def test_rooms_that_are_of_use_without_fairseq_import_it_where_they_use_it():
    """Registration imports them, and would find half imported a module that brings fairseq at its top."""
    rooms = [path for room in ("data", "io", "vision") for path in (PACKAGE / room).glob("*.py")]
    bottom = [PACKAGE / f"{name}.py" for name in ("compat", "constants", "contracts", "errors", "version")]
    importing = set()
    for path in [*rooms, *filter(Path.exists, bottom)]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            if any(name.partition(".")[0] == "fairseq" for name in names):
                importing.add(str(path.relative_to(PACKAGE)))
    assert importing == set()
