"""Looking into networks: the features of an early stop, and their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from irkd.errors import IrkdError
from irkd.models.base import create_network
from irkd.models.taps import TapRecorder, encode, pair_taps

TINY = {
    "restormer": {"dim": 8, "num_blocks": [1, 2, 1, 1], "num_refinement_blocks": 1},
    "drsformer": {"dim": 8, "num_blocks": [1, 2, 1, 1], "mefc_steps": 2},
    "nafnet": {"width": 4, "enc_blk_nums": [2, 1], "middle_blk_num": 1, "dec_blk_nums": [1, 1]},
}


@pytest.mark.parametrize("arch", TINY)
def test_encode_equals_the_whole_pass_in_value_and_gradient(arch: str) -> None:
    torch.manual_seed(0)
    network = create_network(arch, **TINY[arch]).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        parameter.requires_grad_(False)
    name = "encoder_level2"

    def gradient(early: bool) -> tuple[Tensor, Tensor]:
        images = torch.linspace(0, 1, 2 * 3 * 16 * 16, dtype=torch.float64).reshape(2, 3, 16, 16)
        images.requires_grad_()
        if early:
            feature = encode(network, images, [name])[name]
        else:
            with TapRecorder(network, [name]) as features:
                network(images)
            feature = features[name]
        return feature.detach(), torch.autograd.grad(feature.square().sum(), images)[0]

    for one, other in zip(gradient(True), gradient(False), strict=True):
        torch.testing.assert_close(one, other)
    assert all("forward" not in module.__dict__ for module in network.modules())


def test_encode_keeps_far_less_for_the_backward_pass() -> None:
    network = create_network(
        "nafnet", width=8, enc_blk_nums=[6], middle_blk_num=0, dec_blk_nums=[0]
    )
    images = torch.rand(1, 3, 32, 32, requires_grad=True)

    def kept(run: object) -> int:
        total = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            run()  # type: ignore[operator]
        return total

    early = kept(lambda: encode(network, images, ["encoder_level1"]))
    plain = kept(lambda: network(images))
    assert early < plain / 4


def test_unknown_tap_lists_those_there_are() -> None:
    network = create_network("nafnet", **TINY["nafnet"])
    with pytest.raises(IrkdError, match="encoder_level1, encoder_level2, middle"):
        TapRecorder(network, ["encoder_level9"])


def test_taps_pair_by_role_and_stride_across_families() -> None:
    student = create_network("nafnet", **TINY["nafnet"]).taps()
    teacher = create_network("restormer", **TINY["restormer"]).taps()
    pairs = {pair.student: pair.teacher for pair in pair_taps(student, teacher)}
    for name, other in pairs.items():
        assert student[name].role == teacher[other].role
    assert pairs["encoder_level1"] == "encoder_level1"
    assert pairs["decoder_level2"] == "decoder_level2"
