"""Models as ONNX: a step that is handed keys computes what fairseq's decoder makes of the whole target."""

from types import SimpleNamespace

import pytest
from fairseq.dataclass.configs import GenerationConfig

from ikd_fairseq.errors import IkdError
from ikd_fairseq.serving import onnx_export, onnx_parts
from tests import toy

pytest.importorskip("onnxruntime", reason="the extra `serving` is not installed (onnxruntime)")
pytest.importorskip("onnx", reason="the extra `serving` is not installed (onnx)")

SYSTEMS = {
    "paper": {},
    "regions apart, and weighed": {"generator_norm": "region", "region_bias": "learned"},
    "regions alone": {"region_bias": "learned", "no_text": True},
    "learnt positions": {"decoder_learned_pos": True, "encoder_learned_pos": True},
    "no positions": {"no_token_positional_embeddings": True},
    "post-norm": {"decoder_normalize_before": False, "encoder_normalize_before": False},
    "other sizes": {"decoder_layers": 3, "decoder_attention_heads": 4, "encoder_layers": 1},
}


def prepared(**options):
    model = toy.trained(toy.ikd_model(**options))
    for name, parameter in model.named_parameters():
        if name.endswith("region_bias.offset"):
            parameter.data.fill_(0.7)
    model.prepare_for_inference_(SimpleNamespace(generation=GenerationConfig()))
    return model


@pytest.mark.parametrize("system", SYSTEMS)
def test_steps_with_a_past_give_the_probabilities_of_the_whole_target(tmp_path, system):
    onnx_export.write_graphs(prepared(**SYSTEMS[system]), str(tmp_path))  # refuses all else


def test_a_graph_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    attend = onnx_parts._Attention._memory
    monkeypatch.setattr(onnx_parts._Attention, "_memory", lambda *args: 1.01 * attend(*args))
    with pytest.raises(IkdError, match="computes something else in ONNX"):
        onnx_export.write_graphs(prepared(), str(tmp_path))
