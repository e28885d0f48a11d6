"""`irkd.restore`: images, folders and videos restored from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError
from irkd.inference.clips import is_video
from irkd.inference.images import read_picture
from irkd.inference.jobs import plan_jobs
from irkd.inference.restore_files import (
    raise_failures,
    refuse_strength,
    restore_files,
    restore_pixels,
)
from irkd.inference.specialists import NOTHING, Chooser, Tile, open_chooser

ImageLike = str | Path | NDArray[Any]


def restore(
    images: ImageLike | Sequence[ImageLike],
    model: str | Path | None = None,
    *,
    output: str | Path | None = None,
    task: str | None = None,
    tile: Tile = "auto",
    overlap: int | None = None,
    compare: bool = False,
    strength: float = 1.0,
    backend: str = "auto",
    device: str = "auto",
    options: Mapping[str, object] | None = None,
    sure: bool = False,
    overwrite: bool = False,
) -> Any:
    """Restore images, and videos.

    `images`: a file, a folder, an array, or a list of them. Arrays are H x W (grey) or H x W x C
    with C = 1, 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha), uint8, uint16, or floating-point in
    [0, 1]; the result has the same shape and type. Alpha is passed through.

    With `output` (a file for one image, else a folder) files are restored to files, and the paths
    written are returned; results that are there already are not made again unless `overwrite`.
    Videos need `output`, and the extra `video`.
    Without it, arrays are returned: of a file, its upright pixels restored.

    `model`: whatever `irkd.load_network` takes; None takes the model that ships with irkd for
    `task`, or, without one or with "auto", the one that each image's damage asks for.
    `options` say what released weights do not tell of their network. `sure`: that there is haze,
    where `task` is "dehaze": it is taken away without judging first whether there is any.
    `tile`, `overlap`: see `Restorer`. `strength`: 0 gives the image
    back, 1 restores it fully. `compare` writes a before/after picture beside each result.

    Raises IrkdError for bad input, PartialFailure when some of several files failed and the rest
    was done.
    """
    chooser = open_chooser(
        model,
        task=task,
        tile=tile,
        overlap=overlap,
        backend=backend,
        device=device,
        options=options,
        sure=sure,
    )
    refuse_strength(strength)
    single = isinstance(images, str | Path | np.ndarray)
    given: list[ImageLike] = [images] if single else list(images)  # type: ignore[list-item, arg-type]
    if output is None:
        if compare:
            raise IrkdError("compare writes a picture; give output, where to.")
        results = [_restore_in_memory(image, chooser, strength) for image in given]
        return results[0] if single else results
    if any(isinstance(image, np.ndarray) for image in given):
        raise IrkdError("arrays are restored to arrays; give output with files only.")
    jobs = plan_jobs(given, output, compare=compare, overwrite=overwrite).jobs  # type: ignore[arg-type]
    options = {"strength": strength, "overwrite": overwrite}
    outcomes = list(restore_files(jobs, chooser, skip_existing=not single, **options))  # type: ignore[arg-type]
    raise_failures(outcomes)
    paths = [outcome.job.target for outcome in outcomes]
    return paths[0] if single and not Path(images).is_dir() else paths  # type: ignore[arg-type]


def _restore_in_memory(image: ImageLike, chooser: Chooser, strength: float) -> NDArray[Any]:
    if isinstance(image, np.ndarray):
        return _restore_array(image, chooser, strength)
    if Path(image).is_dir():
        raise IrkdError(f"{image} is a folder; give output, the folder for its results.")
    if is_video(Path(image)):
        raise IrkdError(f"{image} is a video; give output, the file for its result.")
    picture = read_picture(image)
    choice = chooser.choose(picture.pixels) if strength else NOTHING
    restored = replace(picture, pixels=restore_pixels(picture.pixels, choice, strength=strength))
    if restored.alpha is None:
        return restored.pixels
    return np.dstack((restored.pixels, restored.alpha))


def _restore_array(image: NDArray[Any], chooser: Chooser, strength: float) -> NDArray[Any]:
    channels = 1 if image.ndim == 2 else image.shape[-1]
    if image.ndim not in (2, 3) or channels not in (1, 2, 3, 4) or 0 in image.shape:
        raise IrkdError(f"expected an array H x W or H x W x 1 to 4, not shape {image.shape}.")
    if image.dtype not in (np.uint8, np.uint16) and image.dtype.kind != "f":
        raise IrkdError(f"expected uint8, uint16 or floating-point pixels, not {image.dtype}.")
    layers = image.reshape(*image.shape[:2], channels)
    pixels = layers[..., :3] if channels >= 3 else layers[..., 0]
    if image.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
        # Written so that NaN is refused too.
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise IrkdError("floating-point pixels must lie within 0 (black) and 1 (white).")
    if strength == 0:
        return image.copy()
    restored = restore_pixels(pixels, chooser.choose(pixels), strength=strength)
    result = image.copy().reshape(layers.shape)
    result[..., : 3 if channels >= 3 else 1] = restored.reshape(*image.shape[:2], -1)
    return result.reshape(image.shape)
