"""The device and the precision that a run trains in."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from irkd.environment import choose_device
from irkd.errors import IrkdError
from irkd.presets.schema import TrainingSection
from irkd.training.observer import Observer


def build_accelerator(training: TrainingSection, device: str, observer: Observer) -> Accelerator:
    """The accelerator for `device` in the section's precision; `auto` never picks one that is slow.

    Raises IrkdError for a device that is not there or cannot compute so.
    """
    chosen = choose_device(device)
    if chosen.type == "cuda" and chosen.index not in (None, 0):
        raise IrkdError(
            f"training takes its GPU from the environment: CUDA_VISIBLE_DEVICES={chosen.index} irkd"
            " ... --device cuda."
        )
    precision = training.precision
    if precision == "auto":
        capable = chosen.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if capable else "fp32"
    if precision == "fp16" and chosen.type != "cuda":
        raise IrkdError("training.precision fp16 needs a GPU; use fp32 or bf16 here.")
    if precision == "bf16" and chosen.type == "cpu" and not processor_has_bf16():
        observer.note(
            "warning: this processor has no instructions for bf16: a step can take ten times as"
            " long as with --precision fp32"
        )
    if not torch.distributed.is_initialized():
        # accelerate keeps one state a process; a second run may want another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        cpu=chosen.type == "cpu",
        mixed_precision="no" if precision == "fp32" else precision,
        gradient_accumulation_steps=training.accumulate,
    )


def processor_has_bf16() -> bool:
    """Whether the processor multiplies matrices in bf16 by instructions of its own."""
    ask = getattr(torch.cpu, "get_capabilities", None)  # not in the oldest torch that irkd takes
    if ask is None:
        return torch.cpu._is_avx512_bf16_supported()
    found = ask()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
