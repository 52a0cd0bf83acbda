"""METEOR without Java: a program called ``java`` keeps its arguments and texts, and prints as METEOR does."""

import json
import stat
import sys

import pytest

from ikd_fairseq.cli import score
from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation import meteor

# What METEOR 1.5 printed, but for the rows of its table; modules are put in.
OUTPUT = """Meteor version: 1.5

Eval ID:        meteor-1.5-wo-de-no_norm-0.95_1.0_0.55_0.55-ex_st-1.0_0.8

Language:       German
Modules:        {}
Weights:        1.0 0.8

Segment 1 score:\t0.7397809913901194

System level statistics:

Final score:            0.3456
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts up a ``java`` that ends as told. Returns a function of the text it prints and its exit status."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(meteor.JAR_VARIABLE, raising=False)
    monkeypatch.setattr(meteor.importlib.util, "find_spec", lambda name: None)

    printed = OUTPUT.format("exact stem")

    def put_up(output=printed, errors="", status=0):
        java = folder / "java"
        java.write_text(
            f"#!{sys.executable} -S\n"
            "import json, sys\n"
            "texts = [open(path, encoding='utf-8', newline='').read() for path in sys.argv[4:6]]\n"
            f"json.dump([sys.argv[1:], texts], open({str(tmp_path / 'call.json')!r}, 'w'))\n"
            f"sys.stdout.write({output!r})\nsys.stderr.write({errors!r})\nsys.exit({status})\n",
            encoding="utf-8",
        )
        java.chmod(java.stat().st_mode | stat.S_IXUSR)
        return tmp_path / "call.json"

    return put_up


@pytest.fixture
def jar(tmp_path):
    """A jar without tables."""
    path = tmp_path / "jars" / "meteor-1.5.jar"
    path.parent.mkdir()
    path.write_bytes(b"")
    return path


def add_table(jar, language):
    (jar.parent / "data").mkdir()
    (jar.parent / "data" / f"paraphrase-{language}.gz").write_bytes(b"")


def test_without_its_table_german_is_scored_by_exact_words_and_stems(program, jar, caplog):
    call = program()
    found = meteor.Meteor.find("de", "tokenised", str(jar))
    assert "paraphrase-de.gz is missing: METEOR runs with -m 'exact stem'" in caplog.text
    assert found.score(["ein haus", "straße\r\u2028 drei"], ["ein heim", "straße vier"]) == {
        "name": "METEOR",
        "score": pytest.approx(34.56),
        "signature": "METEOR 1.5 -l de -m exact+stem -lower",
    }
    arguments, texts = json.loads(call.read_text())
    assert arguments[:3] == ["-Xmx2G", "-jar", str(jar)]
    assert arguments[5:] == ["-l", "de", "-lower", "-m", "exact stem"]
    assert texts == ["ein haus\nstraße drei\n", "ein heim\nstraße vier\n"]  # one line each, for Java too


def test_with_its_table_meteor_chooses_the_modules_and_the_label_repeats_them(program, jar, caplog):
    call = program(OUTPUT.format("exact stem paraphrase"))
    add_table(jar, "fr")
    found = meteor.Meteor.find("fr", "detokenised", str(jar))
    assert caplog.text == ""
    assert found.score(["a"], ["b"])["signature"] == "METEOR 1.5 -l fr -m exact+stem+paraphrase -norm"
    assert json.loads(call.read_text())[0][5:] == ["-l", "fr", "-norm"]


def test_a_language_without_tables_needs_none(program, jar, caplog):
    program()
    assert meteor.Meteor.find("nl", "tokenised", str(jar)).modules is None
    assert caplog.text == ""


def test_jar_is_looked_for_in_option_then_environment_then_package(program, jar, tmp_path, monkeypatch):
    def touch(*parts):
        path = tmp_path.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        return path

    in_package = touch("site", "pycocoevalcap", "meteor", "meteor-1.5.jar")
    in_environment = touch("environment.jar")
    package = type("Spec", (), {"submodule_search_locations": [str(tmp_path / "site" / "pycocoevalcap")]})
    monkeypatch.setattr(meteor.importlib.util, "find_spec", {"pycocoevalcap": package}.get)
    assert meteor.find_jar() == in_package
    monkeypatch.setenv("METEOR_JAR", str(in_environment))
    assert meteor.find_jar() == in_environment
    assert meteor.find_jar(str(jar)) == jar


def test_missing_jar_is_told_with_the_three_places(program, tmp_path, monkeypatch):
    with pytest.raises(IkdError, match="give --meteor-jar FILE, set METEOR_JAR, or install the package"):
        meteor.find_jar()
    monkeypatch.setenv("METEOR_JAR", str(tmp_path / "absent.jar"))
    with pytest.raises(IkdError, match="^METEOR_JAR .*absent.jar: there is no such file"):
        meteor.find_jar()
    with pytest.raises(IkdError, match="^--meteor-jar .*other.jar: there is no such file"):
        meteor.find_jar(str(tmp_path / "other.jar"))


def test_missing_java_is_told(jar, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(IkdError, match="^METEOR is a Java program and there is no java on the PATH"):
        meteor.Meteor.find("de", "tokenised", str(jar))


@pytest.mark.parametrize(
    "output, errors, status, reason",
    [
        (
            OUTPUT.format("exact stem").split("Segment")[0],
            "Error: test and reference not same length\n",
            0,
            "failed: Error: test and reference not same length$",
        ),
        (
            "",
            "Exception in thread main: Error: file not found (x)\n\tat edu.cmu.meteor(Unknown Source)\n",
            1,
            r"failed: Exception in thread main: Error: file not found \(x\)$",
        ),
        ("", "", 3, "failed: status 3, no final score$"),
        (OUTPUT.format("exact stem").replace("0.3456", "NaN"), "", 0, "no final score$"),
    ],
)
def test_failure_of_the_program_is_told_in_its_words(program, jar, output, errors, status, reason):
    program(output, errors, status)
    with pytest.raises(IkdError, match=reason):
        meteor.Meteor.find("de", "tokenised", str(jar)).score(["a"], ["b"])


def test_command_prints_meteor_beside_bleu_and_in_comparisons(program, jar, tmp_path, capsys):
    program()
    for name in ("a", "b", "ref"):
        (tmp_path / name).write_text("ein haus steht hier .\n", encoding="utf-8")
    common = [
        "--references",
        str(tmp_path / "ref"),
        "--metrics",
        "bleu",
        "meteor",
        "--meteor-language",
        "de",
        "--meteor-jar",
        str(jar),
    ]
    assert score.main(["--hypotheses", str(tmp_path / "a"), *common]) is None
    assert "METEOR  34.56  METEOR 1.5 -l de -m exact+stem -lower" in capsys.readouterr().out
    systems = ["--baseline", "text", str(tmp_path / "a"), "--system", "ikd", str(tmp_path / "b")]
    assert score.main([*systems, *common]) is None
    printed = capsys.readouterr().out
    assert "METEOR  METEOR 1.5 -l de -m exact+stem -lower\n" in printed
    assert "+0.00  not tested" in printed and "+0.00  p = 1.0000" in printed


def test_options_without_their_metric_and_metric_without_its_language_are_refused(capsys):
    for arguments, message in (
        (["--metrics", "meteor"], "--metrics meteor needs --meteor-language"),
        (["--meteor-language", "de"], "--meteor-language is of no use without METEOR"),
        (["--meteor-jar", "x"], "--meteor-jar is of no use without METEOR"),
    ):
        assert score.main(["--hypotheses", "a", "--references", "b", *arguments]) == 1
        assert message in capsys.readouterr().err
