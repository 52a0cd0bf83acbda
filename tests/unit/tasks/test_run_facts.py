"""What a training process says of itself: plain values that the safe loader reads."""

import torch

from ikd_fairseq.tasks.run_facts import note_gpu_memory, run_facts


def test_facts_come_back_from_a_checkpoint(tmp_path):
    facts = run_facts()
    assert facts["code"]["version"] and set(facts["versions"]) >= {"python", "torch", "fairseq"}
    assert facts["hardware"]["cores"] > 0 and facts["peak_memory_mb"] > 10
    torch.save({"task_state": {"run": facts}}, tmp_path / "x.pt")
    assert torch.load(tmp_path / "x.pt", weights_only=True)["task_state"]["run"] == facts


def test_peak_of_the_gpu_is_of_all_updates_though_fairseq_forgets_each(monkeypatch):
    note_gpu_memory()
    assert "peak_gpu_memory_mb" not in run_facts()  # no GPU is in use
    monkeypatch.setattr("ikd_fairseq.tasks.run_facts._peak_gpu_memory", 0)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    for peak in (1e6, 7e6, 3e6):
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda peak=peak: int(peak))
        note_gpu_memory()
    assert run_facts()["peak_gpu_memory_mb"] == 7
