"""Runs commands in copies of a process that has imported fairseq and the plugin, which takes seconds, once.

``python -P tests/integration/warm_process.py SOCKET`` imports them, then waits. A client connects to the Unix
socket and sends one JSON line, the request, with its own standard streams. The server forks; the copy takes
over streams, folder, environment, arguments and limits, and runs the command to the end of an interpreter.
The server answers with its status. If the client goes away first, killed perhaps, the copy and all that it
started are killed too.

A single thread, no worker pool: forking is safe. A test about processes (signals, several workers, start-up)
starts its command anew instead.
"""

import atexit
import contextlib
import gc
import importlib
import json
import logging
import os
import random
import resource
import runpy
import selectors
import signal
import socket
import sys
from pathlib import Path

import numpy as np

# What most commands import. Not fairseq's own commands, which set up logging when imported.
WARM = ["fairseq", "ikd_fairseq", "sacrebleu"]

# Python's audit events that change files, beside opening one.
CHANGES = {f"os.{name}" for name in ("link", "mkdir", "remove", "rename", "rmdir", "symlink", "truncate")}

# What stands on PATH under a command's name. It talks to the server and has no other business.
SHIM = """#!{python} -IS
import json, os, socket, sys
name = os.path.basename(sys.argv[0])
request = dict(command={commands!r}[name], argv=sys.argv, cwd=os.getcwd(), environ=dict(os.environ))
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
    server.connect({address!r})
    socket.send_fds(server, [json.dumps(request).encode() + b"\\n"], [0, 1, 2])
    sys.exit(int(server.makefile().readline() or 1))
"""


def write_shims(folder: Path, address: str, commands: dict[str, str]) -> None:
    """Writes a program into *folder* for every command: its name, and what it runs, see :func:`main`."""
    program = SHIM.format(python=sys.executable, commands=commands, address=address)
    for name in commands:
        (folder / name).write_text(program, encoding="utf-8")
        (folder / name).chmod(0o755)


class Server:
    """Forks a copy for every request, answers when it ends, and kills it if its client leaves."""

    def __init__(self, address: str):
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(f"{address}.new")
        self.listener.listen()
        os.rename(f"{address}.new", address)  # clients wait for the name, and must not be refused
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        # The parent holds the other end of standard input open; when it ends, so does this process.
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, sys.exit)

    def serve(self) -> dict:
        """Returns in a copy alone, with the request that it is for."""
        while True:
            for key, _ in self.selector.select():
                if request := key.data():
                    return request

    def accept(self) -> dict | None:
        client, _ = self.listener.accept()
        message, streams, _, _ = socket.recv_fds(client, 1 << 20, 3)
        while message and not message.endswith(b"\n"):
            message += client.recv(1 << 20)
        if len(streams) < 3:
            client.close()
            return None
        child = os.fork()
        if child == 0:
            self.selector.close()
            self.listener.close()
            client.close()
            os.setsid()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            return json.loads(message)
        for stream in streams:
            os.close(stream)
        ended = os.pidfd_open(child)
        self.selector.register(ended, selectors.EVENT_READ, lambda: self.answer(child, ended, client))
        self.selector.register(client, selectors.EVENT_READ, lambda: self.left(child, client))
        return None

    def left(self, child: int, client: socket.socket) -> None:
        if client.fileno() < 0:  # answered a moment ago
            return
        self.selector.unregister(client)
        os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):  # killed before it led a group
            os.killpg(child, signal.SIGKILL)

    def answer(self, child: int, ended: int, client: socket.socket) -> None:
        _, status = os.waitpid(child, 0)
        self.selector.unregister(ended)
        os.close(ended)
        with contextlib.suppress(KeyError):
            self.selector.unregister(client)
        with contextlib.suppress(OSError):
            code = os.waitstatus_to_exitcode(status)
            client.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
        client.close()


def count_changes(folder: str, fatal: int) -> None:
    """Kills this process, with all that it started, before its *fatal*-th change of the files in *folder*.

    With 0 it lives, and prints at its end how many changes there were. A file that is opened to be written
    is one, however much is written to it.
    """
    main, changes = os.getpid(), 0

    def changed(event: str, args: tuple) -> None:
        nonlocal changes
        writes = event in CHANGES or event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)
        if not writes or isinstance(args[0], int) or os.getpid() != main:
            return
        if os.path.abspath(os.fsdecode(args[0])).startswith(folder + os.sep):
            changes += 1
            if changes == fatal:
                os.killpg(0, signal.SIGKILL)

    sys.addaudithook(changed)
    if not fatal:
        atexit.register(lambda: print(f"{changes} changes", file=sys.stderr))


def become(request: dict) -> None:
    """Makes this copy a fresh process of *request*: sets up anew what an interpreter does at its start."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.argv = request["argv"]
    for name, most in request.get("limits", {}).items():
        resource.setrlimit(getattr(resource, name), (most, most))
    if (fatal := request.get("dies_before")) is not None:
        count_changes(request["cwd"], fatal)
    logging.getLogger().handlers.clear()  # fairseq's import left one, its commands set theirs up before it
    random.seed()
    np.random.seed()
    if os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(line_buffering=True)


def main(address: str) -> None:
    """Serves; in a copy, runs ``request["command"]``: a module, or ``module:function`` as a script has it."""
    for name in WARM:
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "a thread was started, and does not survive a fork"
    gc.freeze()
    request = Server(address).serve()
    become(request)
    module, _, function = request["command"].partition(":")
    if function:
        sys.exit(getattr(importlib.import_module(module), function)())
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1])
