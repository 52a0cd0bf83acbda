"""Another commit of this repository, checked out beside it and ready to run."""

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

from workers import ROOT


@contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Path]:
    """A work tree of *commit* in *folder*, taken away at the end, with an environment in ``.venv``.

    The environment has the packages of this one, and the plugin of that commit; its commands too, so that
    recipes find all that they need and install nothing.
    """
    subprocess.run(["git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", folder, commit], check=True)
    try:
        _make_environment(folder)
        yield folder
    finally:
        subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", folder], check=True)


def _make_environment(root: Path) -> None:
    home = root / ".venv"
    venv.create(home, symlinks=True)
    library = sysconfig.get_path("purelib", vars={"base": str(home)})
    # In the order of their names, so that the plugin of that commit is found first.
    Path(library, "a_plugin.pth").write_text(f"{root}\n")
    packages = [path for path in sys.path if path.endswith("-packages")]
    Path(library, "b_packages.pth").write_text("".join(f"{path}\n" for path in packages))
    for command in entry_points(group="console_scripts"):
        script = home / "bin" / command.name
        function = command.attr.split(".")[0]
        script.write_text(
            f"#!{home}/bin/python\nimport sys\nfrom {command.module} import {function}\n"
            f"if __name__ == '__main__':\n    sys.exit({command.attr}())\n"  # processes it starts import it
        )
        script.chmod(0o755)


def environment_of(root: Path) -> dict[str, str]:
    """Variables with which recipes of the checkout *root* use the environment that :func:`checkout` made."""
    path = os.pathsep.join([str(root / ".venv" / "bin"), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(root)}
