"""Restoring images and folders: the engine of `irkd restore`, and `irkd.restore`."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import safetensors
from numpy.typing import NDArray

from irkd.environment import choose_device
from irkd.errors import IrkdError, PartialFailure
from irkd.files import refuse_existing
from irkd.inference.backends import RuntimeNetwork, load_network
from irkd.inference.compare import compare_picture
from irkd.inference.encoding import refuse_unwritable, stored_dtype, write_picture
from irkd.inference.images import read_picture
from irkd.inference.jobs import Job, plan_jobs
from irkd.inference.picture import Picture, from_float, to_float
from irkd.inference.restorer import Restorer
from irkd.models.weights import read_metadata, shipped_models
from irkd.presets.schema import Task

GENERAL = "general"

Tile = Literal["auto", "off"] | int
ImageLike = str | Path | NDArray[Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    `status`: restored; skipped (its result was there already); failed (`error` says why).
    `tile`: height and width of the tiles, None for the whole image at once. `time_s`: reading,
    restoring and writing.
    """

    job: Job
    status: Literal["restored", "skipped", "failed"]
    width: int = 0
    height: int = 0
    time_s: float = 0.0
    tile: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "source": str(self.job.source),
            "target": str(self.job.target),
            "compare": None if self.job.compare is None else str(self.job.compare),
            "status": self.status,
            "width": self.width,
            "height": self.height,
            "megapixels": self.width * self.height / 1e6,
            "time_s": self.time_s,
            "tile": self.tile,
            "notes": list(self.notes),
            "error": self.error,
        }


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
    overwrite: bool = False,
) -> Any:
    """Restore images.

    `images`: a file, a folder, an array, or a list of them. Arrays are H x W (grey) or H x W x C
    with C = 1, 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha), uint8, uint16, or floating-point in
    [0, 1]; the result has the same shape and type. Alpha is passed through.

    With `output` (a file for one image, else a folder) files are restored to files, and the paths
    written are returned; results that are there already are not made again unless `overwrite`.
    Without it, arrays are returned: of a file, its upright pixels restored.

    `model`: whatever `irkd.load_network` takes; None takes the model that ships with irkd for
    `task`, or the general one; `options` say what released weights do not tell of their network.
    `tile`, `overlap`: see `Restorer`. `strength`: 0 gives the image
    back, 1 restores it fully. `compare` writes a before/after picture beside each result.

    Raises IrkdError for bad input, PartialFailure when some of several files failed and the rest
    was done.
    """
    restorer, _ = open_restorer(
        model,
        task=task,
        tile=tile,
        overlap=overlap,
        backend=backend,
        device=device,
        options=options,
    )
    refuse_strength(strength)
    single = isinstance(images, str | Path | np.ndarray)
    given: list[ImageLike] = [images] if single else list(images)  # type: ignore[list-item, arg-type]
    if output is None:
        if compare:
            raise IrkdError("compare writes a picture; give output, where to.")
        results = [_restore_in_memory(image, restorer, strength) for image in given]
        return results[0] if single else results
    if any(isinstance(image, np.ndarray) for image in given):
        raise IrkdError("arrays are restored to arrays; give output with files only.")
    jobs = plan_jobs(given, output, compare=compare)  # type: ignore[arg-type]
    options = {"strength": strength, "overwrite": overwrite}
    outcomes = list(restore_files(jobs, restorer, skip_existing=not single, **options))  # type: ignore[arg-type]
    raise_failures(outcomes)
    paths = [outcome.job.target for outcome in outcomes]
    return paths[0] if single and not Path(images).is_dir() else paths  # type: ignore[arg-type]


def open_restorer(
    model: str | Path | None,
    *,
    task: str | None = None,
    tile: Tile = "auto",
    overlap: int | None = None,
    backend: str = "auto",
    device: str = "auto",
    options: Mapping[str, object] | None = None,
) -> tuple[Restorer, str]:
    """The restorer for `model` or `task`, and the model's name."""
    name = choose_model(task) if model is None else model
    network = load_network(name, backend=backend, device=device, task=task, options=options)
    # A runtime computes on its own device and exchanges arrays on the CPU.
    place = "cpu" if isinstance(network, RuntimeNetwork) else choose_device(device)
    return Restorer(network, device=place, tile=tile, overlap=overlap), str(name)


def choose_model(task: str | None) -> str:
    """The name of the shipped model for `task`: its own where there is one, else the general."""
    known = get_args(Task)
    if task is not None and task not in known:
        raise IrkdError(f"unknown task {task!r}. Known: {', '.join(known)}.")
    shipped = shipped_models()
    for name in (task, GENERAL):
        if name in shipped:
            return name
    raise IrkdError("no model ships with this irkd. Name one with --model.")


def describe_shipped() -> list[dict[str, Any]]:
    """The models that ship with irkd: name, task, arch, parameters, size, from their files."""
    rows = []
    for name, path in shipped_models().items():
        metadata = read_metadata(path)
        with safetensors.safe_open(path, framework="np") as file:
            shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
        rows.append(
            {
                "name": name,
                "task": metadata.get("task"),
                "arch": metadata.get("spec", {}).get("arch"),
                "params_m": sum(int(np.prod(shape)) for shape in shapes) / 1e6,
                "file_mb": path.stat().st_size / 1e6,
            }
        )
    return rows


def refuse_strength(strength: float) -> None:
    if not 0 <= strength <= 1:
        raise IrkdError(f"strength runs from 0 (nothing) to 1 (fully restored), not {strength}.")


def restore_picture(
    picture: Picture, restorer: Restorer, *, strength: float = 1.0, dtype: Any = None
) -> Picture:
    """Restore a picture's pixels; alpha and metadata stay. `dtype`: None keeps the bit depth."""
    degraded = to_float(picture.pixels)
    restored = restorer(degraded)
    if strength != 1:
        restored = degraded + np.float32(strength) * (restored - degraded)
    grey = picture.pixels.ndim == 2
    return replace(
        picture,
        pixels=from_float(restored, dtype=dtype or picture.pixels.dtype, grey=grey),
    )


def restore_files(
    jobs: Iterable[Job],
    restorer: Restorer,
    *,
    strength: float = 1.0,
    overwrite: bool = False,
    skip_existing: bool = True,
) -> Iterator[Outcome]:
    """Restore file after file; each result is complete or not there at all.

    A job whose result exists is skipped, or fails without `skip_existing`, unless `overwrite`.
    A file that fails does not stop the others; a full disk does (IrkdError).
    """
    for job in jobs:
        if skip_existing and not overwrite and job.target.exists():
            yield Outcome(job, "skipped")
            continue
        try:
            yield _restore_file(job, restorer, strength, overwrite)
        except IrkdError as error:
            yield Outcome(job, "failed", error=str(error))
        except MemoryError:
            yield Outcome(job, "failed", error=f"{job.source}: not enough memory for it.")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise IrkdError(
                    f"{job.target}: the disk is full. Free some space, or choose another folder "
                    "with -o; then run it again: what is done is not done twice."
                ) from error
            reason = error.strerror or str(error)
            yield Outcome(job, "failed", error=f"{job.target} cannot be written: {reason}.")


def _restore_file(job: Job, restorer: Restorer, strength: float, overwrite: bool) -> Outcome:
    start = time.perf_counter()
    for path in (job.target, job.compare):
        if path is not None:
            refuse_existing(path, overwrite)
    before = read_picture(job.source)
    refuse_unwritable(job.target, before)
    # Straight to the depth of the file, not by way of the source's.
    dtype = stored_dtype(job.target, before.pixels.dtype)
    after = restore_picture(before, restorer, strength=strength, dtype=dtype)
    notes = [*after.notes, *write_picture(job.target, after, overwrite=overwrite)]
    if dtype.itemsize < before.pixels.dtype.itemsize:
        notes.append(f"{job.target.suffix} holds {dtype.itemsize * 8} bits a channel: rounded")
    if job.compare is not None:
        write_picture(job.compare, compare_picture(before, after), overwrite=overwrite)
    height, width = before.pixels.shape[:2]
    seconds = time.perf_counter() - start
    return Outcome(
        job, "restored", width, height, seconds, restorer.last_tile, tuple(dict.fromkeys(notes))
    )


def raise_failures(outcomes: Sequence[Outcome]) -> None:
    """Raise what failed: IrkdError when nothing else was done, PartialFailure otherwise."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if not errors:
        return
    if len(outcomes) == 1:
        raise IrkdError(errors[0])
    kind = IrkdError if len(errors) == len(outcomes) else PartialFailure
    raise kind("\n".join((f"{len(errors)} of {len(outcomes)} images failed:", *errors)))


def _restore_in_memory(image: ImageLike, restorer: Restorer, strength: float) -> NDArray[Any]:
    if isinstance(image, np.ndarray):
        return _restore_array(image, restorer, strength)
    if Path(image).is_dir():
        raise IrkdError(f"{image} is a folder; give output, the folder for its results.")
    restored = restore_picture(read_picture(image), restorer, strength=strength)
    if restored.alpha is None:
        return restored.pixels
    return np.dstack((restored.pixels, restored.alpha))


def _restore_array(image: NDArray[Any], restorer: Restorer, strength: float) -> NDArray[Any]:
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
    restored = restore_picture(Picture(pixels), restorer, strength=strength).pixels
    result = image.copy().reshape(layers.shape)
    result[..., : 3 if channels >= 3 else 1] = restored.reshape(*image.shape[:2], -1)
    return result.reshape(image.shape)
