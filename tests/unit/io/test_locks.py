"""A file has one writer at a time; the second learns who it is; the killed leave nothing behind."""

import errno
import fcntl
import os
import re
import subprocess
import sys
import threading
import time

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.atomic import write_json
from ikd_fairseq.io.locks import claim, claim_for_good, is_claimed, is_left_behind

_HOLD = """
import sys
from ikd_fairseq.io.atomic import replacing
from ikd_fairseq.io.locks import claim

with claim(sys.argv[1]), replacing(sys.argv[1]) as partial:
    open(partial, "w").close()
    print("holds", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Starts processes that each hold the lock of a path, and write it, until they are killed."""
    started = []

    def start(path) -> subprocess.Popen:
        command = [sys.executable, "-c", _HOLD, str(path)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "holds\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_second_writer_learns_who_the_first_is(tmp_path, hold):
    path = tmp_path / "a"
    first = hold(path)
    with pytest.raises(IkdError) as refused, claim(path):
        pass
    said = rf"{path} is being written by process {first.pid} \(-c .*a\) since \d{{4}}-\d\d-\d\d .*"
    assert re.fullmatch(said + "wait until that has ended, or end it", str(refused.value))
    with claim(tmp_path / "b"):
        pass  # another file
    assert any(re.fullmatch(r"\.a\.\d+\.tmp", name) for name in os.listdir(tmp_path)), (
        "a living one's is left"
    )


def test_what_the_killed_leave_is_removed_by_the_next_writer_into_the_folder(tmp_path, hold):
    for process in [hold(tmp_path / name) for name in ("a", "b")]:
        process.kill()
        process.wait()
    left = os.listdir(tmp_path)
    assert len(left) == 4 and all(map(is_left_behind, left))
    (tmp_path / ".mine.lock").touch()
    (tmp_path / ".mine.1.tmp").touch()
    write_json(tmp_path / "a", {})
    assert sorted(os.listdir(tmp_path)) == [".mine.1.tmp", ".mine.lock", "a"]


def test_where_there_are_no_locks_nobodys_partial_files_are_removed(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.lockf", no_locks)
    partial = tmp_path / ".a.99999.tmp"
    partial.touch()
    write_json(tmp_path / "a", {})
    assert partial.exists()


def test_what_is_written_in_one_go_waits(tmp_path, hold):
    process = hold(tmp_path / "a")
    threading.Timer(0.3, process.kill).start()
    write_json(tmp_path / "a", {})
    assert process.wait(10) and os.listdir(tmp_path) == ["a"]


def test_a_lock_that_is_about_to_be_given_up_is_waited_for(tmp_path, monkeypatch):
    lockf, calls = fcntl.lockf, []

    def refuses_once(*args):
        calls.append(args)
        if len(calls) == 1:
            raise BlockingIOError
        return lockf(*args)

    monkeypatch.setattr(fcntl, "lockf", refuses_once)
    with claim(tmp_path / "a"):
        assert is_claimed(tmp_path / "a") and len(calls) == 2


def test_one_process_claims_a_file_once(tmp_path):
    with claim(tmp_path / "a"):
        assert is_claimed(tmp_path / "a") and not is_claimed(tmp_path / "b")
        with pytest.raises(IkdError, match="by this very process"), claim(tmp_path / "." / "a"):
            pass
        write_json(tmp_path / "a", {})  # by the holder itself
        assert is_claimed(tmp_path / "a")
    assert not is_claimed(tmp_path / "a") and os.listdir(tmp_path) == ["a"]


def test_a_forked_child_does_not_hold_the_lock(tmp_path):
    with claim(tmp_path / "a"):
        child = os.fork()
        if child == 0:
            held = is_claimed(tmp_path / "a")
            try:
                with claim(tmp_path / "a"):
                    os._exit(1)
            except IkdError:
                os._exit(2 if held else 0)
        assert os.waitpid(child, 0)[1] == 0
        assert is_claimed(tmp_path / "a")


def test_a_lock_for_good_ends_with_its_process(tmp_path):
    child = os.fork()
    if child == 0:
        claim_for_good(tmp_path / "a")
        claim_for_good(tmp_path / "a")
        os._exit(0 if is_claimed(tmp_path / "a") else 1)
    assert os.waitpid(child, 0)[1] == 0
    begin = time.monotonic()
    with claim(tmp_path / "a"):
        assert time.monotonic() - begin < 5


def test_a_folder_that_takes_no_lock_is_named(tmp_path):
    with (
        pytest.raises(IkdError, match="nowhere/a cannot be written .No such file"),
        claim(tmp_path / "nowhere/a"),
    ):
        pass
