"""Runs fairseq's commands as a user does, each in a process of its own."""

import atexit
import contextlib
import functools
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from tests.integration.warm_process import write_shims

CHECKOUT = Path(__file__).resolve().parents[2]
USER_DIR = str(CHECKOUT / "ikd_fairseq")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}

# A model of a few thousand weights; the rest is what a user would type.
MODEL = """--encoder-embed-dim 16 --encoder-ffn-embed-dim 32 --encoder-layers 1 --encoder-attention-heads 2
    --decoder-embed-dim 16 --decoder-ffn-embed-dim 32 --decoder-layers 1 --decoder-attention-heads 2"""
WIDTH = (  # of one that tells toy sentences apart, given behind MODEL
    "--encoder-embed-dim 64 --decoder-embed-dim 64 --encoder-attention-heads 4 --decoder-attention-heads 4"
)
IKD = f"""--arch ikd_transformer_tiny {MODEL} --backbone efficientnet_lite0 --image-size 64 --unpool depthwise
    --criterion inversion_distillation --label-smoothing 0.1"""
OPTIMIZER = """--optimizer adam --adam-betas (0.9,0.98) --lr 0.005
    --lr-scheduler inverse_sqrt --warmup-updates 4 --log-format json --log-interval 1 --num-workers 0 --cpu"""
TASK = f"--user-dir {USER_DIR} --task multimodal_translation"


def arguments(*parts) -> list[str]:
    """Splits at white space, but not in the checkout's path; what else may hold spaces is given as a list."""
    checkout = str(CHECKOUT)
    words = []
    for part in parts:
        if isinstance(part, list):
            words += part
        else:
            split = str(part).replace(checkout, "{checkout}").split()
            words += [word.replace("{checkout}", checkout) for word in split]
    return words


def warm_process(checkout: Path = CHECKOUT) -> str:
    """The socket of the process that commands are forked from, with the package of *checkout*."""
    return _start_warm_process(checkout)


@functools.cache
def _start_warm_process(checkout: Path) -> str:
    """Starts ``warm_process.py``; returns its socket."""
    folder = tempfile.mkdtemp(prefix="ikd-warm-")  # short: a socket's path has at most 107 bytes
    address = os.path.join(folder, "socket")
    command = [sys.executable, "-P", str(Path(__file__).with_name("warm_process.py")), address]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(checkout)}
    server = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=checkout, env=environment)

    def end() -> None:
        server.stdin.close()
        server.wait()
        shutil.rmtree(folder)

    atexit.register(end)
    while not os.path.exists(address):
        assert server.poll() is None, "the process that commands are forked from did not start"
        time.sleep(0.05)
    return address


def run(command: str, *parts, fails: bool = False, checkout: Path = CHECKOUT) -> str:
    """Runs ``python -m command`` to its end and returns what it printed; *fails* says what status is due.

    It runs in a copy of a process that has imported fairseq and the package of *checkout*.
    """
    status, output = WarmCommand(command, arguments(*parts), checkout=checkout).wait(600)
    assert status is not None, f"{command} did not end in ten minutes"
    assert (status != 0) == fails, output[-4000:]
    return output


def free_port() -> int:
    """One of this machine that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class WarmCommand:
    """A command in a copy of the warm process: ``module``, or ``module:function`` as scripts have it.

    Args:
        further: of the request; ``limits``, bounds of its resources by their names in :mod:`resource`, or
            ``dies_before``, which of its changes of files in *cwd* it is killed before (0: count them).
    """

    def __init__(self, command: str, argv: list[str], cwd: Path = CHECKOUT, checkout=CHECKOUT, **further):
        request = {"command": command, "argv": [command.rpartition(":")[0] or command, *argv]}
        request |= {"cwd": str(cwd), "environ": ENVIRONMENT, **further}
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.connect(warm_process(checkout))
        self.output, writing = os.pipe()
        with open(os.devnull) as nothing:
            streams = [nothing.fileno(), writing, writing]
            socket.send_fds(self.server, [json.dumps(request).encode() + b"\n"], streams)
        os.close(writing)
        self.printed = b""

    def wait(self, seconds: float) -> tuple[int | None, str]:
        """Status and what was printed; the status is None if it runs after *seconds* and had to be killed."""
        deadline = time.monotonic() + seconds
        status = None
        if self._read(deadline):
            self.server.settimeout(max(0.1, deadline - time.monotonic()))
            with contextlib.suppress(TimeoutError):
                status = int(self.server.makefile().readline())
        self.kill()
        return status, self.printed.decode(errors="replace")

    def runs_after(self, seconds: float) -> bool:
        """Waits so long; whether it still runs then."""
        return not self._read(time.monotonic() + seconds)

    def kill(self) -> None:
        """Kills it and all that it started, and waits until they are gone. No harm once it ended."""
        if self.output >= 0:
            self.server.close()  # the server kills the copies of clients that leave
            assert self._read(time.monotonic() + 60), "a killed command lives on"
            os.close(self.output)
            self.output = -1

    def _read(self, deadline: float) -> bool:
        """Whether every process that could print has ended by the *deadline*."""
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.output], [], [], left)[0]:
                block = os.read(self.output, 1 << 16)
                if not block:
                    return True
                self.printed += block
        return False


@functools.cache
def warm_environment() -> dict[str, str]:
    """An environment for recipes, whose commands of fairseq and of the plugin run in copies too."""
    folder = Path(warm_process()).parent
    with open(CHECKOUT / "pyproject.toml", "rb") as project:
        commands = tomllib.load(project)["project"]["scripts"]
    fairseq = ("train", "validate", "generate", "interactive", "preprocess")
    commands |= {f"fairseq-{name}": f"fairseq_cli.{name}:cli_main" for name in fairseq}
    write_shims(folder, warm_process(), commands)
    path = [str(folder), str(Path(sys.executable).parent), ENVIRONMENT["PATH"]]
    return {**ENVIRONMENT, "PATH": os.pathsep.join(path)}


def refusal(output: str) -> str:
    """The one sentence that a refused command printed, which must come without a traceback."""
    assert "Traceback" not in output, output[-4000:]
    (line,) = [line for line in output.splitlines() if line.startswith("ikd_fairseq: error: ")]
    return line


def hypotheses(output: str) -> dict[int, list[tuple[float, str]]]:
    """Score and text of all that fairseq-generate prints of each sentence, the best first."""
    found: dict[int, list[tuple[float, str]]] = {}
    for line in output.splitlines():
        if line.startswith("H-"):
            tag, score, text = line.split("\t")
            found.setdefault(int(tag[2:]), []).append((float(score), text))
    return found


def translations(output: str, kind: str = "H") -> dict[int, str]:
    """Hypotheses (``H``) or detokenised ones (``D``) of fairseq-generate or -interactive, by sentence."""
    found = {}
    for line in output.splitlines():
        if line.startswith(f"{kind}-"):
            tag, _, text = line.split("\t")
            assert int(tag[2:]) not in found
            found[int(tag[2:])] = text
    return found
