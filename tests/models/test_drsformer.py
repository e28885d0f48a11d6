"""DRSformer's own pieces against their definitions, its memory, and reading its weights."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from tiny_restorers import SMALL_DRSFORMER, SMALL_RESTORMER, degraded, shaken, variant
from torch import Tensor

from irkd.inference.memory import bytes_per_pixel
from irkd.models.base import create_network, families, reference_path
from irkd.models.drsformer import TopKSparseAttention
from irkd.models.mixture_of_experts import MixtureOfExperts, PoolingExpert
from irkd.models.taps import encode, pair_taps


def attention(channels: int, heads: int = 1) -> TopKSparseAttention:
    layer = TopKSparseAttention(channels, heads, bias=False)
    with torch.no_grad():
        for parameter in (layer.attn1, layer.attn2, layer.attn3, layer.attn4, layer.temperature):
            parameter.copy_(torch.rand(parameter.shape) + 0.5)
    return layer


def mixed(layer: TopKSparseAttention, query: Tensor, key: Tensor) -> Tensor:
    return layer.attention(layer.scores(query, key))


@pytest.mark.parametrize(
    ("channels", "kept"),
    [(24, (12, 16, 18, 19)), (48, (24, 32, 36, 38)), (3, (1, 2, 2, 2)), (2, (1, 1, 1, 1))],
)
def test_kept_scores_are_rounded_down(channels: int, kept: tuple[int, ...]) -> None:
    assert attention(channels).kept == kept


def test_attention_keeps_the_largest_of_each_row() -> None:
    layer = attention(14, heads=2)
    query, key = torch.randn(2, 50, 14).double(), torch.randn(2, 50, 14).double()
    found = mixed(layer, query, key)
    shares = [layer.attn1, layer.attn2, layer.attn3, layer.attn4]
    for image in range(2):
        for head in range(2):
            for row in range(7):
                q = query[image, :, 7 * head + row]
                keys = key[image, :, 7 * head : 7 * head + 7]
                scores = (q @ keys) / (q.norm() * keys.norm(dim=0)) * layer.temperature[head, 0, 0]
                expected = torch.zeros(7, dtype=torch.float64)
                # Of 7: a half, two thirds, three quarters, four fifths.
                for share, kept in zip(shares, (3, 4, 5, 5), strict=True):
                    best = sorted(range(7), key=lambda i: -scores[i].item())[:kept]
                    total = sum(scores[i].exp() for i in best)
                    for i in best:
                        expected[i] += share.item() * scores[i].exp() / total
                torch.testing.assert_close(found[image, head, row], expected, rtol=1e-6, atol=1e-9)


def test_of_equal_scores_no_more_are_kept() -> None:
    layer = attention(24)
    with torch.no_grad():
        for share in (layer.attn1, layer.attn3, layer.attn4):
            share.zero_()
    black = torch.zeros(1, 10, 24)
    assert (mixed(layer, black, black) > 0).sum(-1).unique().tolist() == [16]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_are_not_rounded_to_half_precision(dtype: torch.dtype) -> None:
    layer = attention(32, heads=2)
    # Sums of squares of 400 are beyond float16.
    query, key = 400 * torch.randn(1, 300, 32), 400 * torch.randn(1, 300, 32)
    query, key = query.to(dtype), key.to(dtype)
    expected = mixed(layer, query.float(), key.float())
    assert torch.equal(mixed(layer, query, key), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mixed(layer, query, key), expected)


def test_pooling_does_not_count_the_border() -> None:
    features = torch.rand(1, 2, 5, 6)
    pooled = PoolingExpert()(features)
    corner, edge = features[..., :2, :2].mean((2, 3)), features[..., :2, 1:4].mean((2, 3))
    torch.testing.assert_close(pooled[..., 0, 0], corner)
    torch.testing.assert_close(pooled[..., 0, 2], edge)


@pytest.mark.parametrize("layers", [1, 2])
def test_mixture_is_the_sum_of_its_weighted_experts(layers: int) -> None:
    mixture: Any = shaken(MixtureOfExperts(4, layers, 2)).double()
    x = features = torch.rand(2, 4, 9, 7).double()
    for weigh, layer in zip(mixture.layers[0::2], mixture.layers[1::2], strict=True):
        weights = weigh(x)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2).double())
        x = layer.preprocess.op(x)
        for index, step in enumerate(layer._ops):
            join = step._out[0].weight.flatten(1).unflatten(1, (8, 4))
            total = torch.zeros_like(x)
            for i, expert in enumerate(step._ops):
                opinion = expert.op(x) * weights[:, index, i].view(-1, 1, 1, 1)
                total += torch.einsum("oc,bchw->bohw", join[:, i], opinion)
            x = x + total.relu()
    torch.testing.assert_close(mixture(features), x)


def test_faster_path_needs_much_less_memory() -> None:
    network = variant("drsformer")
    device = torch.device("cpu")
    ours = bytes_per_pixel(network, device)
    with reference_path():
        plain = bytes_per_pixel(network, device)
    assert ours < 0.6 * plain


def test_an_early_stop_recomputes_the_mixture() -> None:
    network = variant("drsformer").requires_grad_(False)
    images = degraded(network, 32, 32).requires_grad_()
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    def kept(module: object, *arguments: object) -> int:
        sizes.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            module(*arguments)  # type: ignore[operator]
        return sum(sizes)

    early = kept(encode, network, images, ["encoder_level1"])
    alone = kept(network.encoder_level0, network.patch_embed(images))
    assert early < alone / 3


def test_taps_pair_one_to_one_with_and_without_mixtures() -> None:
    for teacher in ("drsformer", "drsformer_plain", "restormer"):
        for student in ("drsformer", "drsformer_plain", "restormer"):
            pairs = pair_taps(variant(student).taps(), variant(teacher).taps())
            assert [pair.student for pair in pairs] == [pair.teacher for pair in pairs]
            assert len(pairs) == 7
    assert "refinement" in variant("drsformer").taps()
    assert "refinement" not in variant("drsformer_plain").taps()


options = st.fixed_dictionaries(
    {
        "dim": st.integers(4, 40).map(lambda half: 2 * half),
        "num_blocks": st.lists(st.integers(1, 3), min_size=4, max_size=4),
        "heads": st.lists(st.sampled_from([1, 2]), min_size=4, max_size=4),
        "bias": st.booleans(),
        "LayerNorm_type": st.sampled_from(["WithBias", "BiasFree"]),
    }
)
mixtures = st.one_of(
    st.just({"mefc": False}),
    st.fixed_dictionaries(
        {
            "mefc": st.just(True),
            "mefc_layers": st.integers(1, 3),
            "mefc_steps": st.integers(1, 5),
        }
    ),
)


@settings(max_examples=20, deadline=None)
@given(options, mixtures, st.sampled_from([2.66, 2.0, 1.5]))
def test_any_drsformer_is_read_back(
    sizes: dict[str, Any], mixture: dict[str, Any], factor: float
) -> None:
    asked = {**sizes, **mixture, "ffn_expansion_factor": factor}
    with torch.device("meta"):
        first = create_network("drsformer", **asked)
        claim = families()["drsformer"].read_spec(first.state_dict())
        assert claim is not None
        second = create_network("drsformer", **claim)
    for name, value in {**sizes, **mixture}.items():
        found = claim[name]
        assert (list(found) if isinstance(found, tuple) else found) == value, name
    assert {key: value.shape for key, value in second.state_dict().items()} == {
        key: value.shape for key, value in first.state_dict().items()
    }


def test_only_the_right_family_claims_weights() -> None:
    no_blocks = {"num_blocks": [0] * 4}
    for arch, sizes in (
        ("drsformer", SMALL_DRSFORMER),
        ("drsformer", {**SMALL_DRSFORMER, **no_blocks}),
        ("restormer", SMALL_RESTORMER),
        ("restormer", {**SMALL_RESTORMER, **no_blocks}),
    ):
        state_dict = create_network(arch, **sizes).state_dict()
        claims = [
            name for name, family in families().items() if family.read_spec(state_dict) is not None
        ]
        assert claims == [arch]
