"""ikd-score: generate output and plain files, every missing sentence, and comparisons of several systems."""

import json

import pytest

from ikd_fairseq.cli import score
from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation import translations
from ikd_fairseq.evaluation.metrics import compute_scores
from tests.generated import HYPOTHESES, REFERENCES, SOURCES, generate_text, plain_bleu, write

DATA_LINE = "2024-01-01 10:00:00 | INFO | fairseq.tasks.translation | bin test en-de {} examples"


def run_json(tmp_path, *arguments):
    """The report of a successful call."""
    assert score.main([*map(str, arguments), "--json", str(tmp_path / "report.json")]) is None
    return json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))


def refusal(capsys, *arguments):
    assert score.main(list(map(str, arguments))) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("score: error: ")]
    assert len(lines) == 1
    return lines[0]


def test_scores_from_generate_output_and_from_plain_files_are_equal(tmp_path):
    generated = write(tmp_path / "gen.txt", generate_text())
    hypotheses = write(tmp_path / "hyp", "\n".join(HYPOTHESES))
    references = write(tmp_path / "ref", "\n".join(REFERENCES) + "\n")
    first = run_json(tmp_path, "--generate-output", generated)
    second = run_json(tmp_path, "--hypotheses", hypotheses, "--references", references)
    assert first["scores"] == second["scores"] and first["sentences"] == 3
    assert first["scores"]["bleu"]["score"] == pytest.approx(plain_bleu(HYPOTHESES, REFERENCES))
    assert list(first["scores"]) == ["bleu", "chrf", "ter"]


def test_given_references_replace_those_of_the_output(tmp_path):
    generated = write(tmp_path / "gen.txt", generate_text())
    references = write(tmp_path / "ref", "\n".join(HYPOTHESES))
    report = run_json(tmp_path, "--generate-output", generated, "--references", references)
    assert report["scores"]["bleu"]["score"] == pytest.approx(100)
    assert report["counted_by"] == [references]


def test_shards_of_one_test_set_are_merged(tmp_path):
    parts = [write(tmp_path / "a.txt", generate_text([0, 2])), write(tmp_path / "b.txt", generate_text([1]))]
    whole = write(tmp_path / "whole.txt", generate_text())
    merged = run_json(tmp_path, "--generate-output", *parts)
    assert merged["scores"] == run_json(tmp_path, "--generate-output", whole)["scores"]


def test_a_sentence_in_two_shards_is_refused_with_both_files(tmp_path, capsys):
    first = write(tmp_path / "a.txt", generate_text([0, 2]))
    second = write(tmp_path / "b.txt", generate_text([2]))
    message = refusal(capsys, "--generate-output", first, second)
    assert "sentence 2 is there twice" in message and "a.txt" in message and "b.txt" in message


def test_a_gap_is_refused_with_number_ids_and_cause(tmp_path, capsys):
    message = refusal(capsys, "--generate-output", write(tmp_path / "gen.txt", generate_text([2])))
    assert "gen.txt lacks the translation of 2 of 3 sentences (ids 0, 1)" in message
    assert "--required-batch-size-multiple" in message


def test_the_log_of_skipped_sentences_is_told_as_the_cause(tmp_path, capsys):
    log = ["... | WARNING | 1 samples have invalid sizes and will be skipped, max_positions=(4, 4), ids=[1]"]
    generated = write(tmp_path / "gen.txt", generate_text([0, 2], log=log))
    message = refusal(capsys, "--generate-output", generated)
    assert "ids 1" in message and "will be skipped, max_positions=(4, 4)" in message


@pytest.fixture
def lacks_last(tmp_path):
    """Output of a test set of three sentences in which the last is missing."""
    return write(tmp_path / "gen.txt", generate_text([1, 0]))


def test_a_missing_last_sentence_is_found_by_every_source_of_the_number(
    tmp_path, capsys, lacks_last, write_text_split
):
    write_text_split(tmp_path / "bin", "test", 3)
    references = write(tmp_path / "ref", "\n".join(REFERENCES))
    for source in (
        ["--sentences", 3],
        ["--references", references],
        ["--data", f"{tmp_path / 'bin'}:{tmp_path / 'other'}", "--split", "test"],
    ):
        assert "of 1 of 3 sentences (ids 2)" in refusal(capsys, "--generate-output", lacks_last, *source)
    logged = write(tmp_path / "logged.txt", generate_text([0, 1], log=[DATA_LINE.format(3)]))
    assert "of 1 of 3 sentences (ids 2)" in refusal(capsys, "--generate-output", logged)


def test_without_any_number_of_sentences_a_warning_tells_so(tmp_path, capsys, lacks_last):
    run_json(tmp_path, "--generate-output", lacks_last)
    assert "missing at its end would go unnoticed" in capsys.readouterr().err
    run_json(tmp_path, "--generate-output", lacks_last, "--sentences", 2)
    assert "WARNING" not in capsys.readouterr().err


def test_ids_beyond_the_test_set_are_refused(tmp_path, capsys):
    generated = write(tmp_path / "gen.txt", generate_text())
    assert "ids of 2 and above (2)" in refusal(capsys, "--generate-output", generated, "--sentences", 2)


def test_sources_that_disagree_about_the_number_are_refused(tmp_path, capsys):
    generated = write(tmp_path / "gen.txt", generate_text(log=[DATA_LINE.format(3)]))
    message = refusal(capsys, "--generate-output", generated, "--sentences", 4)
    assert "--sentences has 4 sentences, but the log in" in message and "has 3" in message


def test_binarised_split_that_is_not_there_is_refused(tmp_path, capsys, write_text_split):
    write_text_split(tmp_path / "bin", "test1", 3)
    message = refusal(capsys, "--generate-output", "gen.txt", "--data", tmp_path / "bin", "--split", "test")
    assert f"no test.*.idx in {tmp_path / 'bin'}: run fairseq-preprocess first" in message


def test_files_of_different_length_are_refused_with_both_numbers(tmp_path, capsys):
    hypotheses, references = write(tmp_path / "hyp", "a\nb\n"), write(tmp_path / "ref", "a\n")
    message = refusal(capsys, "--hypotheses", hypotheses, "--references", references)
    assert "hyp has 2 sentences, but" in message and "ref has 1" in message


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "gen.txt is empty"),
        ("just a line\n", "holds no hypotheses"),
        ("S-0\ta\nT-0\tb\n", "holds no hypotheses"),
        ("H-0\t-1\ta\n", "holds no references"),
        ("S-0\ta\nS-1", "gen.txt, line 2: the line is cut off"),
        ("T-0\ta\nH-0\t-1\ta\nT-1\ta\n", "lacks the translation of 1 of 2"),  # killed before the last H-
        ("T-0\ta\nH-0\t-1\ta\nD-0\t-1\ta\nT-1\ta\nH-1\t-1\ta\n", "lacks the translation of 1 of 2"),
        ("T-0\ta\nH-0\t-1\ta\nH-1\t-1\ta\n", "lacks the reference of 1 of 2"),
    ],
)
def test_bad_generate_output_is_refused(tmp_path, capsys, text, message):
    generated = write(tmp_path / "gen.txt", text)
    assert message in refusal(capsys, "--generate-output", generated)


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path, capsys):
    (tmp_path / "hyp").write_bytes("gut\nschön\n".encode("latin-1"))
    references = write(tmp_path / "ref", "gut\nschön\n")
    message = refusal(capsys, "--hypotheses", tmp_path / "hyp", "--references", references)
    assert "hyp, line 2: not UTF-8" in message


def test_files_that_are_not_there_or_empty_are_refused(tmp_path, capsys):
    reference = write(tmp_path / "ref", "a\n")
    absent = refusal(capsys, "--hypotheses", tmp_path / "absent", "--references", reference)
    assert "absent cannot be read (No such file" in absent
    empty = refusal(capsys, "--hypotheses", write(tmp_path / "hyp", ""), "--references", reference)
    assert "hyp is empty" in empty


def test_options_that_do_not_fit_together_are_refused(tmp_path, capsys):
    plain = write(tmp_path / "hyp", "a\n")
    assert "needs --references" in refusal(capsys, "--hypotheses", plain)
    assert "give both or neither" in refusal(capsys, "--generate-output", "g", "--data", "bin")
    assert "--preset detokenised" in refusal(capsys, "--generate-output", "g", "--detokenise", "de")
    with pytest.raises(SystemExit):
        score.main(["--generate-output", "g", "--sentences", "0"])
    assert "--sentences: '0' is not a whole number above 0" in capsys.readouterr().err


def test_bpe_is_removed_on_both_sides_and_its_marks_are_warned_of(tmp_path, capsys):
    hypotheses = write(tmp_path / "hyp", "ein fahr@@ rad steht da .\n")
    references = write(tmp_path / "ref", "ein fahrrad ste@@ ht da .\n")
    arguments = ("--hypotheses", hypotheses, "--references", references, "--metrics", "bleu")
    assert run_json(tmp_path, *arguments)["scores"]["bleu"]["score"] < 100
    assert "1 hypotheses hold BPE marks" in capsys.readouterr().err
    report = run_json(tmp_path, *arguments, "--remove-bpe")
    assert report["scores"]["bleu"]["score"] == pytest.approx(100)
    assert "WARNING" not in capsys.readouterr().err


def test_unknown_words_in_references_are_warned_of(tmp_path, capsys):
    text = generate_text(log=[DATA_LINE.format(3)]).replace("T-1\tzwei", "T-1\t<<unk>>")
    run_json(tmp_path, "--generate-output", write(tmp_path / "gen.txt", text))
    assert "1 references hold words unknown" in capsys.readouterr().err


def test_detokenising_undoes_moses(tmp_path):
    for word in ("german", "DE"):
        with pytest.raises(IkdError, match=f"--detokenise {word}: give the code"):
            translations.detokenise([], word)
    plain = translations.detokenise(["Ein Mann , der &quot; läuft &quot; ."], "de")
    assert plain == ['Ein Mann, der "läuft".']
    hypotheses = write(tmp_path / "hyp", "Ein Mann , der läuft .")
    references = write(tmp_path / "ref", "Ein Mann, der läuft.")
    report = run_json(
        tmp_path,
        "--hypotheses",
        hypotheses,
        "--references",
        references,
        "--preset",
        "detokenised",
        "--detokenise",
        "de",
    )
    assert report["scores"]["ter"]["score"] == 0 and report["scores"]["chrf"]["score"] == pytest.approx(100)


def test_samples_are_evenly_spaced_and_print_their_triples(tmp_path, capsys):
    assert score.evenly_spaced(2, 100) == [25, 75]
    assert score.evenly_spaced(9, 3) == [0, 1, 2] and score.evenly_spaced(0, 3) == []
    generated = write(tmp_path / "gen.txt", generate_text())
    assert score.main(["--generate-output", generated, "--samples", "1"]) is None
    table, sample = capsys.readouterr().out.split("\n\n")
    assert [line.split()[0] for line in table.splitlines()] == ["3", "BLEU", "chrF2", "TER"]
    assert f"BLEU    {plain_bleu(HYPOTHESES, REFERENCES):.2f}  nrefs:1|case:lc|" in table
    assert sample.splitlines() == [
        "sentence 1",
        f"  source      {SOURCES[1]}",
        f"  hypothesis  {HYPOTHESES[1]}",
        f"  reference   {REFERENCES[1]}",
    ]


@pytest.fixture
def compared(tmp_path):
    """References, and two runs of each of two systems: one good, one that leaves out words at every end."""
    references = [
        f"ein mann {verb} mit der nummer {number} durch die straße ."
        for number in range(20)
        for verb in ("fährt", "läuft")
    ]
    ends = ("durch die .", "durch straße .")
    short, shorter = ([line.replace("durch die straße .", end) for line in references] for end in ends)
    return {
        "references": write(tmp_path / "ref", "\n".join(references)),
        "good": [
            write(tmp_path / "good1", "\n".join(references)),
            write(tmp_path / "good2", "\n".join([*references[:-1], "ein mann"])),
        ],
        "poor": [write(tmp_path / "poor1", "\n".join(short)), write(tmp_path / "poor2", "\n".join(shorter))],
    }


@pytest.mark.parametrize("test, signed", [("bootstrap", "bs:150"), ("randomisation", "ar:150")])
def test_systems_are_compared_over_their_runs(tmp_path, capsys, compared, test, signed):
    report = run_json(
        tmp_path,
        "--baseline",
        "text",
        *compared["poor"],
        "--system",
        "ikd",
        *compared["good"],
        "--system",
        "again",
        *compared["poor"],
        "--references",
        compared["references"],
        "--metrics",
        "bleu",
        "--test",
        test,
        "--trials",
        150,
    )
    bleu = report["comparisons"]["bleu"]
    poor, good = (
        [
            compute_scores(*map(translations.read_lines, (path, compared["references"])))["bleu"]["score"]
            for path in compared[system]
        ]
        for system in ("poor", "good")
    )
    text, ikd, again = (bleu["systems"][name] for name in ("text", "ikd", "again"))
    assert text["scores"] == poor and ikd["scores"] == good
    assert ikd["mean"] == pytest.approx(sum(good) / 2)
    assert ikd["deviation"] == pytest.approx(abs(good[0] - good[1]) / 2**0.5)
    assert ikd["difference"] == pytest.approx((sum(good) - sum(poor)) / 2)
    assert ikd["mark"] == "‡" and max(ikd["p_values"]) < 0.01 and text["p_values"] == []
    assert again["p_values"] == [1, 1] and again["mark"] == ""
    assert signed in bleu["signature"] and "seed:12345" in bleu["signature"]
    assert report["baseline"] == "text" and report["systems"]["ikd"] == compared["good"]
    assert report["test"] == test and report["sentences"] == 40

    printed = capsys.readouterr().out
    assert f"+{ikd['difference']:.2f}‡" in printed and "± sample standard deviation over runs" in printed


def test_runs_may_be_generate_output_and_a_single_run_has_no_deviation(tmp_path, capsys):
    references = write(tmp_path / "ref", "\n".join(REFERENCES))
    plain = write(tmp_path / "plain", "\n".join(HYPOTHESES))
    generated = write(tmp_path / "gen", generate_text())
    report = run_json(
        tmp_path,
        "--baseline",
        "plain",
        plain,
        "--system",
        "generated",
        generated,
        "--references",
        references,
        "--trials",
        100,
    )
    for metric in ("bleu", "chrf", "ter"):
        systems = report["comparisons"][metric]["systems"]
        assert systems["plain"]["scores"] == systems["generated"]["scores"]
        assert systems["generated"]["difference"] == 0 and systems["generated"]["p_values"] == [1]
        assert systems["plain"]["deviation"] is None
    assert capsys.readouterr().out.count("(1 run: no deviation)") == 6


def test_comparisons_that_cannot_be_made_are_refused(tmp_path, capsys, compared):
    references = ["--references", compared["references"]]
    pair = ["--baseline", "text", compared["poor"][0], "--system", "ikd", compared["good"][0]]
    short = write(tmp_path / "short", "ein mann\n")
    blank = write(tmp_path / "blank", "\n" * 40)
    empty = write(tmp_path / "empty", "")
    partial = write(tmp_path / "partial", generate_text([0, 2]))
    three = write(tmp_path / "three", "\n".join(REFERENCES))
    cases = [
        (
            ["--baseline", "text", *compared["poor"], *pair[3:], *references],
            "--system ikd has 1 run(s) (",
            "good1",
            "baseline text has 2",
            "poor2",
        ),
        ([*pair[:3], "--system", "ikd", short, *references], "short has 1 sentences, but", "ref has 40"),
        ([*pair[:3], "--system", "ikd", blank, *references], "blank: every translation in it is empty"),
        ([*pair[:3], "--system", "ikd", empty, *references], "empty is empty"),
        (
            ["--baseline", "text", three, "--system", "ikd", partial, "--references", three],
            "partial lacks the translation of 1 of 3 sentences",
        ),
        ([*pair[:3], "--system", "text", compared["good"][0], *references], "two systems are called text"),
        ([*pair[:3], "--system", "ikd", *references], "--system ikd names no file"),
        ([*pair[:3], "--system", *compared["good"], *references], "good1: the first value is a file"),
        (["--baseline", "text", short, short, *pair[3:], *references], "--baseline text", "short twice"),
        ([*pair[:3], *references], "--baseline needs a system"),
        (pair, "--baseline needs --references"),
        ([*pair, *references, "--samples", "1"], "--samples prints translations of one system"),
        ([*pair, *references, "--trials", "99"], "--trials 99: give 100 at least"),
        (["--hypotheses", short, *pair[3:], *references], "--system belongs to a comparison"),
        (["--hypotheses", short, *references, "--test", "bootstrap"], "--test belongs to a comparison"),
        (["--hypotheses", short, *references, "--json", "no/such"], "no does not exist: make it first"),
        ([*pair, *references, "--json", pair[2]], "the output is one of the inputs"),
        ([*pair, *references, "--json", pair[-1]], "the output is one of the inputs"),
    ]
    for arguments, *parts in cases:
        message = refusal(capsys, *arguments)
        assert all(part in message for part in parts), message
