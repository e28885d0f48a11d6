"""Wave, and the rule that what does not see the output's values cannot stand alone (trap N)."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from method_harness import FAMILY_PAIRS, SMALL_PAIR, bench
from pydantic import ValidationError

from irkd.errors import IrkdError
from irkd.methods.wavelet import WaveletParameters
from irkd.presets.load import dump, load_preset


def load_with(folder: Path, methods: list[dict[str, Any]]) -> Any:
    """The demo preset with other methods, read from a file."""
    content = yaml.safe_load(dump(load_preset("demo")))
    content["methods"] = methods
    file = folder / "preset.yaml"
    file.write_text(yaml.safe_dump(content))
    return load_preset(file)


def without(method: str, **options: Any) -> dict[str, Any]:
    """`method` with none of its own terms on the output."""
    off = {"affinity": {"reconstruction": 0, "distillation": 0}}
    return {"name": method, **off.get(method, {"reconstruction": 0}), **options}


BLIND = ["wavelet", "affinity", "attention", "channelwise", "hints"]


@pytest.mark.parametrize("method", BLIND)
def test_without_a_reconstruction_anywhere_it_is_refused(method, tmp_path):
    with pytest.raises(IrkdError, match=f"{method} needs a reconstruction term"):
        load_with(tmp_path, [without(method)])
    with pytest.raises(IrkdError, match=f"{method} needs a reconstruction term"):
        load_with(tmp_path, [without(method), {"name": "response", "weight": 0}])


@pytest.mark.parametrize("method", BLIND)
def test_any_reconstruction_will_do(method, tmp_path):
    assert load_with(tmp_path, [{"name": method}])
    assert load_with(tmp_path, [without(method), {"name": "none"}])
    assert load_with(tmp_path, [without(method), {"name": "response", "reconstruction": 0}])


@pytest.mark.parametrize(
    ("start", "other", "fails_at"),
    [
        (0, {"stop": 10}, 10),
        (0, {"start": 5}, 0),
        (7, {"stop": 5}, 7),
        (5, {"start": 5}, None),
        (0, {"ramp": 5}, None),
    ],
)
def test_it_must_count_in_every_step(start, other, fails_at, tmp_path):
    methods = [without("wavelet", start=start), {"name": "none", **other}]
    if fails_at is None:
        load_with(tmp_path, methods)
        return
    with pytest.raises(IrkdError, match=f"from step {fails_at} on"):
        load_with(tmp_path, methods)


def test_one_may_take_over_from_another(tmp_path):
    early, late = {"name": "none", "stop": 10}, {"name": "response", "start": 10}
    assert load_with(tmp_path, [without("wavelet"), early, late])
    late["start"] = 11
    with pytest.raises(IrkdError, match="from step 10 on"):
        load_with(tmp_path, [without("wavelet"), early, late])


def test_the_message_says_why_and_what_to_do(tmp_path):
    with pytest.raises(IrkdError, match=r"details alone, and no brightness.*reconstruction: 1"):
        load_with(tmp_path, [without("wavelet")])


@pytest.mark.parametrize("reconstruction", [0, 1])
def test_what_it_forbids_would_happen(reconstruction):
    """An image that is too bright everywhere: only a reconstruction pulls it down."""
    tried = bench({"name": "wavelet", "reconstruction": reconstruction}, SMALL_PAIR)
    context = tried.leaves()
    context.reference = context.teacher_restored
    context.restored = (context.teacher_restored + 0.2).detach().requires_grad_()
    sum(tried.method(context).values()).backward()
    # How much the loss changes with the brightness of the whole image.
    assert context.restored.grad.sum().item() == pytest.approx(reconstruction, abs=1e-5)


def test_level_weights_switch_levels_on():
    context = bench({"name": "wavelet"}, FAMILY_PAIRS[0]).context()

    def value(*weights):
        options = {"level_weights": weights, "levels": len(weights)}
        return bench({"name": "wavelet", **options}, FAMILY_PAIRS[0]).method(context)["wavelet"]

    levels = [value(*row) for row in torch.eye(3).tolist()]
    assert all(level > 0 for level in levels)
    torch.testing.assert_close(value(1.0, 2.0, 0.5), levels[0] + 2 * levels[1] + levels[2] / 2)


def test_small_patches_are_refused():
    tried = bench({"name": "wavelet"}, FAMILY_PAIRS[1])
    context = tried.context(8)
    with pytest.raises(IrkdError, match="at least 16 x 16 pixels, not 8 x 8: lower `levels`"):
        tried.method(context)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 0}, "greater than or equal to 1"),
        ({"level_weights": (1, 1)}, "each of the 4 levels, not 2"),
        ({"level_weights": (0, 0, 0, 0)}, "not all 0"),
        ({"level_weights": (1, -1, 1, 1)}, "0 or more"),
        ({"reconstruction": 0, "wavelet": 0}, "nothing would be learned"),
        ({"wavelet": float("nan")}, "finite"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        WaveletParameters(**options)


def test_terms_at_rest_cost_nothing():
    """A weight of 0 asks for no teacher."""
    tried = bench({"name": "wavelet", "wavelet": 0}, FAMILY_PAIRS[0])
    assert not tried.method.needs.uses_teacher
    assert list(tried.method(tried.context())) == ["reconstruction"]


def test_all_levels_of_a_patch_can_be_taken():
    """Levels up to the patch's own size, also of odd sizes."""
    for size, levels in itertools.product((16, 20), (1, 4)):
        tried = bench({"name": "wavelet", "levels": levels}, SMALL_PAIR)
        assert tried.method(tried.context(size))["wavelet"].isfinite()
