"""The encoder without text (--no-text): regions ask and answer alone, and the text only generates them."""

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator

from ikd_fairseq.errors import IkdError
from ikd_fairseq.models.multimodal_transformer import ImageMustTransformerConfig, MultimodalTransformerModel
from tests import toy
from tests.closeness import assert_close_to_scale

SENTENCES = ([1, 2, 3], [4, 5], [6, 7, 8, 9, 10])


def by_hand(encoder, m, memory=None):
    """The encoder's output for one sentence from its feature m, ``P x C`` to ``P x d``.

    *memory*, ``I x d``, is asked by the regions instead of their own states.
    """
    x = encoder.region_projection(m)
    for layer in encoder.layers:
        attention = layer.self_attn
        states = layer.self_attn_layer_norm(x)
        asked = states if memory is None else layer.self_attn_layer_norm(memory)
        q, k, v = attention.q_proj(states), attention.k_proj(asked), attention.v_proj(asked)
        size = x.size(1) // attention.num_heads
        heads = [
            torch.softmax(q[:, part] @ k[:, part].T / size**0.5, dim=1) @ v[:, part]
            for part in (slice(h * size, (h + 1) * size) for h in range(attention.num_heads))
        ]
        x = x + attention.out_proj(torch.cat(heads, dim=1))
        x = x + layer.fc2(torch.relu(layer.fc1(layer.final_layer_norm(x))))
    return encoder.layer_norm(x)


def test_regions_attend_to_regions_alone_and_all_of_them_reach_the_decoder():
    encoder = toy.trained(toy.ikd_model(no_text=True)).encoder
    with torch.no_grad():
        out = encoder(toy.tokens(*SENTENCES), return_all_hiddens=True)
        states = out["encoder_out"][0]
        assert states.shape == (toy.REGIONS, len(SENTENCES), 16)
        assert out["encoder_padding_mask"][0].tolist() == [[False] * toy.REGIONS] * len(SENTENCES)
        assert [len(state) for state in out["encoder_states"]] == [toy.REGIONS] * 3
        for number, m in enumerate(out["regions"][0]):
            assert_close_to_scale(states[:, number], by_hand(encoder, m))


def test_in_the_released_form_regions_ask_and_the_text_embeddings_answer():
    encoder = toy.trained(toy.ikd_model(no_text=True, text_memory="embedding")).encoder
    with torch.no_grad():
        out = encoder(toy.tokens(*SENTENCES))
        states = out["encoder_out"][0]
        assert states.shape == (toy.REGIONS, len(SENTENCES), 16) and not out["encoder_padding_mask"][0].any()
        for number, words in enumerate(SENTENCES):
            text, _ = encoder.forward_embedding(toy.tokens(words))
            assert_close_to_scale(states[:, number], by_hand(encoder, out["regions"][0][number], text[0]))


def test_the_text_reaches_the_output_through_the_feature_alone():
    model = toy.trained(toy.ikd_model(no_text=True))
    source, other = toy.tokens([1, 2, 3]), toy.tokens([9, 8, 7, 6, 5])
    with torch.no_grad():
        m, own = (model.encoder(source)[key][0] for key in ("regions", "encoder_out"))
        assert not torch.allclose(model.encoder(other)["encoder_out"][0], own)
        model.encoder.generator.forward = lambda text, padding_mask: m
        assert torch.equal(model.encoder(other)["encoder_out"][0], own)


def test_with_text_the_same_feature_gives_another_output():
    model = toy.trained(toy.ikd_model())
    m = torch.rand(1, toy.REGIONS, toy.CHANNELS)
    model.encoder.generator.forward = lambda text, padding_mask: m
    with torch.no_grad():
        one, other = (model.encoder(toy.tokens(words))["encoder_out"][0] for words in ([1, 2, 3], [7, 8, 9]))
    assert not torch.allclose(one[-toy.REGIONS :], other[-toy.REGIONS :])


def test_batch_mates_and_padding_side_do_not_matter():
    model = toy.trained(toy.ikd_model(no_text=True))
    search = SequenceGenerator([model], toy.dictionary(), beam_size=3, max_len_b=12)

    def encode(source):
        return model.encoder(source)["encoder_out"][0].transpose(0, 1)

    def translate(source):
        net_input = {"src_tokens": source, "src_lengths": source.ne(toy.dictionary().pad()).sum(1)}
        return [found[0]["tokens"].tolist() for found in search.generate([model], {"net_input": net_input})]

    right, left = (toy.tokens(*SENTENCES, left_pad=side) for side in (False, True))
    with torch.no_grad():
        alone = torch.cat([encode(toy.tokens(sentence)) for sentence in SENTENCES])
        for together in (encode(right), encode(left)):
            assert_close_to_scale(together, alone)
    assert translate(left) == [translate(toy.tokens(sentence))[0] for sentence in SENTENCES]


def test_translation_trains_the_generator():
    model = toy.ikd_model(no_text=True, no_student=True).train()
    sample = toy.batch(toy.tokens(*SENTENCES), toy.tokens(*SENTENCES))
    model(**sample["net_input"])[0].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
    assert model.encoder.generator.projection.weight.grad.any()


def test_a_checkpoint_with_text_loads_without_and_the_other_way_round():
    with_text, without = toy.ikd_model(), toy.ikd_model(no_text=True)
    without.load_state_dict(with_text.state_dict(), strict=True)
    with_text.load_state_dict(without.state_dict(), strict=True)


# ---------------------------------------------------------------- image-must


def test_image_must_model_encodes_the_image_alone():
    encoder = toy.trained(toy.image_must_model(no_text=True)).encoder
    pictures, positions = toy.images(2), torch.tensor([1, 0])
    with torch.no_grad():
        outs = [
            encoder(toy.tokens(*sentences), images=pictures, image_positions=positions)["encoder_out"][0]
            for sentences in (([1, 2, 3], [4, 5]), ([9], [8, 7, 6, 5]))
        ]
    assert outs[0].shape == (toy.REGIONS, 2, 16)
    assert torch.equal(*outs)  # whatever the words
    assert not torch.allclose(outs[0][:, 0], outs[0][:, 1])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "images",
    [{}, dict(images=toy.images(1), image_positions=torch.tensor([1]))],
    ids=["none", "one of three"],
)
def test_image_must_model_refuses_a_sentence_without_image(images, training):
    model = toy.image_must_model(no_text=True).train(training)
    with pytest.raises(IkdError, match="--no-text .* has none: .*--require-images"):
        model.encoder(toy.tokens(*SENTENCES), **images)


def test_options_that_contradict_it_are_refused_in_a_sentence():
    for hiding in (dict(region_dropout=0.5), dict(region_warmup=5), dict(regions_at_test="ensemble")):
        with pytest.raises(IkdError, match="--no-text .* cannot be hidden .* drop"):
            toy.ikd_model(no_text=True, **hiding)
    task = toy.toy_task()
    task.cfg.image_free = True
    config = ImageMustTransformerConfig(**toy.SIZES, backbone_weights="random", no_text=True)
    with pytest.raises(IkdError, match="--no-text .* --image-free .* one of the two"):
        MultimodalTransformerModel.build_model(config, task)
