"""What a training process says of itself: plain values that the safe loader reads."""

import torch

from ikd_fairseq.tasks.run_facts import run_facts


def test_facts_come_back_from_a_checkpoint(tmp_path):
    facts = run_facts()
    assert facts["code"]["version"] and set(facts["versions"]) >= {"python", "torch", "fairseq"}
    assert facts["hardware"]["cores"] > 0 and facts["peak_memory_mb"] > 10
    torch.save({"task_state": {"run": facts}}, tmp_path / "x.pt")
    assert torch.load(tmp_path / "x.pt", weights_only=True)["task_state"]["run"] == facts
