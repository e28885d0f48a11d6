"""Features of images in which likeness is nearer to what people see: VGG-19."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from irkd.errors import IrkdError
from irkd.losses.precision import full_precision, outside_autocast

ImageFeatures = Callable[[Tensor], list[Tensor]]

# relu1_1, relu2_1, relu3_1, relu4_1, relu5_1 in torchvision's `vgg19().features`.
LAYERS = (1, 6, 11, 20, 29)


@full_precision
def feature_l1(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """The sum over layers of the mean absolute difference of features."""
    total = a[0].new_zeros(())
    for one, other in zip(a, b, strict=True):
        total = total + (one - other).abs().mean()
    return total


class VGG19Features:
    """Maps B x 3 x H x W images in [0, 1] to their features after relu1_1, ..., relu5_1.

    The weights come from a file the user names; nothing is downloaded. The file is torchvision's
    `vgg19` state dict (its `features.*` part is enough), .pth or .safetensors. It is not a module,
    so that frozen weights of 80 MB stay out of checkpoints and of what data parallelism
    synchronises; it follows the images to their device.

    Raises IrkdError when the file is missing or is not VGG-19.
    """

    def __init__(self, path: str | Path) -> None:
        from torchvision.models import vgg19

        state = _read(Path(path))
        features = {
            name.removeprefix("features."): value
            for name, value in state.items()
            if name.startswith("features.")
        }
        with torch.device("meta"):
            network = vgg19(weights=None).features[: LAYERS[-1] + 1]
        kept = {name: value for name, value in features.items() if name in network.state_dict()}
        try:
            network.load_state_dict(kept, assign=True)
        except RuntimeError as error:
            raise IrkdError(
                f"{path} does not hold VGG-19: expected torchvision's `vgg19` state dict "
                f"(features.0.weight, ...)."
            ) from error
        self._network: nn.Module = network.float().eval().requires_grad_(False)
        self._mean = torch.tensor([0.485, 0.456, 0.406], device="cpu").view(3, 1, 1)
        self._std = torch.tensor([0.229, 0.224, 0.225], device="cpu").view(3, 1, 1)

    def __call__(self, images: Tensor) -> list[Tensor]:
        if self._mean.device != images.device:
            self._network.to(images.device)
            self._mean, self._std = self._mean.to(images.device), self._std.to(images.device)
        with outside_autocast(images.device.type):
            features = (images.float() - self._mean) / self._std
            collected = []
            for index, layer in enumerate(self._network.children()):
                features = layer(features)
                if index in LAYERS:
                    collected.append(features)
        return collected


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise IrkdError(
            f"VGG-19 weights {str(path)!r}: no such file. Give the path of torchvision's vgg19 "
            "state dict; irkd downloads none."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise IrkdError(f"VGG-19 weights {str(path)!r} cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise IrkdError(f"VGG-19 weights {str(path)!r}: expected a state dict.")
    return state
