"""Restoring files: each result is complete or not there, and one failure does not stop the rest."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from irkd.errors import IrkdError, PartialFailure
from irkd.files import atomic_path, refuse_existing
from irkd.inference.clips import inspect_clip, is_video
from irkd.inference.compare import compare_picture
from irkd.inference.encoding import refuse_unwritable, stored_dtype, write_picture
from irkd.inference.images import read_picture
from irkd.inference.jobs import Job
from irkd.inference.picture import Picture, Pixels, as_colour, blend, change_depth
from irkd.inference.specialists import NOTHING, Choice, Chooser
from irkd.inference.video import middle_frame, restore_clip


@dataclass(frozen=True)
class Progress:
    """How far a file is: its share of the whole, the megapixels done, frames of a video."""

    share: float
    megapixels: float
    frames: int | None = None
    of_frames: int | None = None


Watch = Callable[[Job, Progress], None]


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    `status`: restored; skipped (its result was there already); failed (`error` says why).
    `tile`: height and width of the tiles, None for the whole image at once. `time_s`: reading,
    restoring and writing. `frames`: of a video. `models`: what restored it, one after the other.
    `found`: the tasks that its damage was judged to ask for, and `reason` why, where that was
    asked.
    """

    job: Job
    status: Literal["restored", "skipped", "failed"]
    width: int = 0
    height: int = 0
    time_s: float = 0.0
    tile: tuple[int, int] | None = None
    frames: int | None = None
    models: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    reason: str | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None

    @property
    def megapixels(self) -> float:
        """Of all frames together."""
        return self.width * self.height * (1 if self.frames is None else self.frames) / 1e6

    def as_json(self) -> dict[str, Any]:
        return {
            "source": str(self.job.source),
            "target": str(self.job.target),
            "compare": None if self.job.compare is None else str(self.job.compare),
            "status": self.status,
            "width": self.width,
            "height": self.height,
            "frames": self.frames,
            "megapixels": self.megapixels,
            "time_s": self.time_s,
            "tile": self.tile,
            "models": list(self.models),
            "found_tasks": list(self.found),
            "reason": self.reason,
            "notes": list(self.notes),
            "error": self.error,
        }


def refuse_strength(strength: float) -> None:
    if not 0 <= strength <= 1:
        raise IrkdError(f"strength runs from 0 (nothing) to 1 (fully restored), not {strength}.")


def restore_pixels(
    pixels: Pixels,
    choice: Choice,
    *,
    strength: float = 1.0,
    dtype: Any = None,
    watch: Callable[[float], None] | None = None,
) -> Pixels:
    """Restore H x W or H x W x 3 of any depth; `dtype`: None keeps it.

    Strength 0 gives the pixels back without a pass through a network. `watch` is called with the
    share that is done, up to 1.
    """
    dtype = dtype or pixels.dtype
    if strength == 0:
        return change_depth(pixels, dtype)
    return blend(pixels, choice.restore(as_colour(pixels), watch), strength, dtype)


def restore_files(
    jobs: Iterable[Job],
    chooser: Chooser,
    *,
    strength: float = 1.0,
    overwrite: bool = False,
    skip_existing: bool = True,
    watch: Watch | None = None,
) -> Iterator[Outcome]:
    """Restore file after file; each result is complete or not there at all.

    A job whose result exists, also where another process made it meanwhile, is skipped, or fails
    without `skip_existing`, unless `overwrite`; of one whose before/after picture alone is missing,
    that is made. A file that fails does not stop the others; a full disk does (IrkdError). `watch`
    is told when a file begins, and of the progress within it.
    """
    for job in jobs:
        if skip_existing and not overwrite and job.is_done:
            yield Outcome(job, "skipped")
            continue
        if watch is not None:
            watch(job, Progress(0.0, 0.0))
        try:
            if skip_existing and not overwrite and job.target.is_file():
                yield _add_compare(job)
            elif is_video(job.source):
                yield _restore_video(job, chooser, strength, overwrite, watch)
            else:
                yield _restore_image(job, chooser, strength, overwrite, watch)
        except IrkdError as error:
            if skip_existing and not overwrite and job.is_done:
                yield Outcome(job, "skipped", notes=("made meanwhile by another process",))
            else:
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


def _restore_image(
    job: Job, chooser: Chooser, strength: float, overwrite: bool, watch: Watch | None
) -> Outcome:
    start = time.perf_counter()
    _refuse_taken(job, overwrite)
    before = read_picture(job.source)
    refuse_unwritable(job.target, before)
    height, width = before.pixels.shape[:2]
    choice = chooser.choose(before.pixels) if strength else NOTHING
    if _stays(job, choice):
        _copy(job, overwrite)
        if job.compare is not None:
            write_picture(job.compare, compare_picture(before, before), overwrite=overwrite)
        return _restored(job, start, width, height, choice, ())
    told = None if watch is None else _tile_watch(job, watch, height * width / 1e6)
    # Straight to the depth of the file, not by way of the source's.
    dtype = stored_dtype(job.target, before.pixels.dtype)
    restored = restore_pixels(before.pixels, choice, strength=strength, dtype=dtype, watch=told)
    after = replace(before, pixels=restored)
    notes = [*after.notes, *write_picture(job.target, after, overwrite=overwrite)]
    if dtype.itemsize < before.pixels.dtype.itemsize:
        notes.append(f"{job.target.suffix} holds {dtype.itemsize * 8} bits a channel: rounded")
    if job.compare is not None:
        write_picture(job.compare, compare_picture(before, after), overwrite=overwrite)
    return _restored(job, start, width, height, choice, notes)


def _tile_watch(job: Job, watch: Watch, megapixels: float) -> Callable[[float], None]:
    return lambda share: watch(job, Progress(share, share * megapixels))


def _add_compare(job: Job) -> Outcome:
    assert job.compare is not None
    pictures = _shown(job.source), _shown(job.target)
    if pictures[0].pixels.shape != pictures[1].pixels.shape:
        raise IrkdError(
            f"{job.target} is no result of {job.source}: its size differs. Add --overwrite."
        )
    write_picture(job.compare, compare_picture(*pictures))
    return Outcome(job, "skipped", notes=("its before/after picture was added",))


def _shown(path: Path) -> Picture:
    """An image, or the middle of a video."""
    return Picture(middle_frame(inspect_clip(path))) if is_video(path) else read_picture(path)


def _restore_video(
    job: Job, chooser: Chooser, strength: float, overwrite: bool, watch: Watch | None
) -> Outcome:
    start = time.perf_counter()
    _refuse_taken(job, overwrite)
    clip = inspect_clip(job.source)
    # The first picture is often black: the middle tells more of the clip.
    middle = middle_frame(clip)
    choice = chooser.choose(middle) if strength else NOTHING
    if _stays(job, choice):
        _copy(job, overwrite)
        if job.compare is not None:
            same = Picture(middle)
            write_picture(job.compare, compare_picture(same, same), overwrite=overwrite)
        outcome = _restored(job, start, clip.width, clip.height, choice, ())
        return replace(outcome, frames=clip.frames)
    megapixels = clip.width * clip.height / 1e6

    def tell(done: int, of: int | None) -> None:
        if watch is not None:
            share = min(done / of, 1.0) if of else 0.0
            watch(job, Progress(share, done * megapixels, done, of))

    def restore_frame(pixels: Pixels) -> Pixels:
        return restore_pixels(pixels, choice, strength=strength)

    done = restore_clip(clip, job.target, restore_frame, overwrite=overwrite, watch=tell)
    if job.compare is not None:
        before, after = (Picture(pixels) for pixels in done.middle)
        write_picture(job.compare, compare_picture(before, after), overwrite=overwrite)
    outcome = _restored(job, start, clip.width, clip.height, choice, done.notes)
    return replace(outcome, frames=done.frames)


def _stays(job: Job, choice: Choice) -> bool:
    """Whether the file can be copied: encoded anew, a JPEG or a video would lose a little."""
    return not choice.restorers and job.target.suffix.lower() == job.source.suffix.lower()


def _copy(job: Job, overwrite: bool) -> None:
    with atomic_path(job.target, overwrite=overwrite) as temporary:
        shutil.copyfile(job.source, temporary)


def _refuse_taken(job: Job, overwrite: bool) -> None:
    for path in (job.target, job.compare):
        if path is not None:
            refuse_existing(path, overwrite)


def _restored(
    job: Job,
    start: float,
    width: int,
    height: int,
    choice: Choice,
    notes: Sequence[str],
) -> Outcome:
    return Outcome(
        job,
        "restored",
        width,
        height,
        time.perf_counter() - start,
        choice.tile,
        models=choice.models,
        found=choice.found,
        reason=choice.reason,
        notes=tuple(dict.fromkeys(notes)),
    )


def raise_failures(outcomes: Sequence[Outcome]) -> None:
    """Raise what failed: IrkdError when nothing else was done, PartialFailure otherwise."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if not errors:
        return
    if len(outcomes) == 1:
        raise IrkdError(errors[0])
    kind = IrkdError if len(errors) == len(outcomes) else PartialFailure
    raise kind("\n".join((f"{len(errors)} of {len(outcomes)} files failed:", *errors)))
