"""The distillation table: what is read from fairseq's output and from checkpoints, and the order of its rows."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples" / "multi30k"))

import distillation_table as table  # noqa: E402  the folder of the example is no package

GENERATED = """S-1\ta
T-1\tb
H-1\t-0.5\tein hund
D-1\t-0.5\tein hund
P-1\t-0.5000 -1.0000 -0.5000
H-0\t-1.0\teine katze
P-0\t-1.0000 -2.0000
2026 | INFO | fairseq_cli.generate | NOTE
2026 | INFO | fairseq_cli.generate | Translated 1,002 sentences (9,000 tokens) in 2.0s (1,501.25 sentences/s, 2.0 tokens/s)
"""


def write_run(folder: Path, translations: str = GENERATED) -> None:
    weight = torch.tensor([[1.0, 0.0], [2.0, 3.0]])
    state = {
        "encoder.embed_tokens.weight": weight,
        "decoder.embed_tokens.weight": weight,
        "decoder.layers.0.fc1.bias": torch.ones(3),
        "student.to_image.weight": torch.ones(50),
        "encoder.generator.batch_norm.running_mean": torch.ones(7),
        "encoder.version": torch.ones(1),
    }
    folder.mkdir(parents=True)
    torch.save(
        {"model": state, "optimizer_history": [{}], "extra_state": {}, "cfg": {}}, folder / "average.pt"
    )
    for beam, bleu in ((1, 10.0), (5, 12.345)):
        (folder / f"beam{beam}").mkdir()
        (folder / f"beam{beam}" / "generate-test.txt").write_text(translations, encoding="utf-8")
        (folder / f"beam{beam}" / "score-test.json").write_text(
            json.dumps({"scores": {"bleu": {"score": bleu}}})
        )


def test_output_gives_words_and_the_probability_of_the_whole_sentence(tmp_path):
    (tmp_path / "out").write_text(GENERATED)
    output = table.read_output(tmp_path / "out")
    assert output.text == {0: "eine katze", 1: "ein hund"}
    assert output.probability == {0: 2.0**-3, 1: 2.0**-2}


def test_size_counts_what_translating_needs_and_tied_weights_once(tmp_path):
    write_run(tmp_path / "run")
    assert table.size_of(tmp_path / "run" / "average.pt") == (4 + 3, 3 + 3)


def test_rows_compare_with_the_teacher_and_come_in_the_papers_order(tmp_path, capsys):
    for name in ("nano-seq", "nano-base", "nano-pruned80", "nano-pruned20", "teacher"):
        other = GENERATED.replace("ein hund", "ein tier") if name == "nano-seq" else GENERATED
        write_run(tmp_path / name, other)
    (tmp_path / "other").mkdir()
    (tmp_path / "nano-base" / "speed-beam1-batch64.txt").write_text(GENERATED)
    (tmp_path / "nano-base" / "speed-beam5-batch1.txt").write_text(GENERATED)
    (tmp_path / "teacher" / "speed-beam5-batch1.txt").write_text(GENERATED.replace("1,501.25", "500.4"))
    assert not table.main([str(tmp_path)])
    rows = [line.split("\t") for line in (tmp_path / "table.tsv").read_text().splitlines()]
    assert [row[:2] for row in rows[1:]] == [
        ["teacher", ""],
        ["nano", "baseline"],
        ["nano", "Seq-KD"],
        ["nano", "Seq-KD + Seq-Inter, 20 % pruned"],
        ["nano", "Seq-KD + Seq-Inter, 80 % pruned"],
    ]
    seq = dict(zip(rows[0], rows[3]))
    assert (seq["BLEU, greedy"], seq["BLEU, beam 5"], seq["p(t = ŷ)"]) == ("10.00", "12.35", "18.8 %")
    assert (seq["as teacher"], dict(zip(rows[0], rows[2]))["as teacher"]) == ("50.0 %", "100.0 %")
    base, teacher = dict(zip(rows[0], rows[2])), dict(zip(rows[0], rows[1]))
    assert (base["beam 1, batch 64"], base["beam 5, batch 1"]) == ("1501.2", "1501.2 (3.0x)")
    assert (teacher["beam 5, batch 1"], teacher["beam 1, batch 1"]) == ("500.4", "")
    assert capsys.readouterr().out.count("\n") == len(rows) + 1


def test_a_folder_without_runs_is_refused(tmp_path, capsys):
    assert table.main([str(tmp_path)]) == 1
    assert "holds no finished run" in capsys.readouterr().err


def test_a_missing_score_is_named(tmp_path, capsys):
    write_run(tmp_path / "nano-base")
    (tmp_path / "nano-base" / "beam5" / "score-test.json").unlink()
    assert table.main([str(tmp_path)]) == 1
    assert "score-test.json is missing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        table.main([])
