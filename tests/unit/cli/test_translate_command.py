"""``ikd-translate`` as a filter: what it reads and writes, whatever the model."""

import subprocess
import sys

from ikd_fairseq.cli.translate import main

# The command with a model that gives every sentence back.
ECHO = """
import sys
from ikd_fairseq.cli import translate

class Echo:
    def translate(self, sentences, *_):
        return [[translate.Translation(line, 0.0)] for line in sentences]

translate.SentenceTranslator.load = classmethod(lambda cls, model, **options: Echo())
sys.exit(translate.main(["model", *sys.argv[1:]]))
"""


def test_it_ends_quietly_when_its_reader_does(tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("a line\n" * 100_000)
    command = [sys.executable, "-c", ECHO, str(lines)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"a line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141  # as of a filter that SIGPIPE ends


def test_every_line_is_answered_and_counted(tmp_path):
    command = [sys.executable, "-c", ECHO]
    done = subprocess.run(command, input=b"a\n\nb", capture_output=True)
    assert done.stdout == b"a\n\nb\n" and done.returncode == 0
    assert b"3 sentences in " in done.stderr


def test_an_output_that_is_an_input_is_refused(tmp_path, capsys):
    for name in ("model.pt", "lines.txt"):
        (tmp_path / name).touch()
        argv = [str(tmp_path / "model.pt"), str(tmp_path / "lines.txt"), "--output", str(tmp_path / name)]
        assert main(argv) == 1
        assert f"{name}: the output is one of the inputs; choose another name" in capsys.readouterr().err
