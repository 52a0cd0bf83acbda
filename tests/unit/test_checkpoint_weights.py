"""Flipped bits are found wherever a file of torch.save is read; marks that mean nothing are let be."""

import pytest
import torch

from ikd_fairseq.checkpoint_weights import check_weights
from ikd_fairseq.errors import IkdError
from ikd_fairseq.torch_files import load_safely


def test_fairseqs_marks_of_modules_may_hold_anything(tmp_path):
    mark = torch.tensor([float("nan")])
    check_weights({"model": {"decoder.embed_positions._float_tensor": mark, "decoder.version": mark}}, "a")


def test_a_flipped_bit_of_a_weight_is_found_unless_pytorch_wrote_no_checksums(tmp_path):
    weight, path = torch.rand(1000), tmp_path / "a.pt"

    def flipped():
        torch.save({"weight": weight}, path)
        content = bytearray(path.read_bytes())
        content[content.find(weight.numpy().tobytes()) + 1] ^= 1
        path.write_bytes(content)
        return load_safely(path)

    with pytest.raises(IkdError, match=r"a\.pt is damaged \(Bad CRC-32 for file 'a/data/0'\)"):
        flipped()
    torch.serialization.set_crc32_options(False)
    try:
        assert not torch.equal(flipped()["weight"], weight)
    finally:
        torch.serialization.set_crc32_options(True)
