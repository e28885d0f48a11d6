"""From what a user names to its pairs."""

from __future__ import annotations

from pathlib import Path

from irkd.data.degrade import DEGRADATIONS, check_task
from irkd.data.folders import CleanFolderPairs, FolderPairs
from irkd.data.layouts import CLEAN, check_layout
from irkd.data.pairs import PairSource, Split
from irkd.data.photographs import PhotographPairs
from irkd.data.synthetic import STYLES, ProceduralPairs
from irkd.errors import IrkdError

BUILT_IN = (*STYLES, "photographs")


def open_pairs(
    data: str | Path,
    *,
    task: str | None = None,
    split: Split = "test",
    layout: str = "auto",
    count: int | None = None,
    size: int | None = None,
    seed: int = 0,
) -> PairSource:
    """The pairs of `data`.

    Args:
        data: a folder, or one of the built-in sets: "procedural", "scenes", "surfaces",
            "streets", "daylight", "sunlight", "fabrics", "tones" and "varied" (made by irkd, all
            but the first richer and slower to make), and "photographs" (those inside
            scikit-image, for testing only).
        task: what to restore; the built-in sets and folders of clean images are degraded for it.
        split: "train" or "test"; the two never share a procedural image.
        layout: how the folder is arranged, a name in `layouts.layouts()`, or "auto" to find out.
        count, size: number and side of the images, for images made by irkd only.
        seed: of procedural images and synthetic degradations. The photographs are always the same.

    Raises IrkdError when there are no pairs, or not as asked.
    """
    check_layout(layout)
    if str(data) in STYLES:
        return ProceduralPairs(
            _needs_task(task, data),
            split=split,
            count=count,
            size=size,
            seed=seed,
            name=str(data),
        )
    if str(data) == "photographs":
        if split == "train":
            raise IrkdError(
                "the built-in photographs are for testing, never for training. "
                f"Train on {', '.join(map(repr, STYLES))} or a folder."
            )
        return PhotographPairs(_needs_task(task, data))
    root = Path(data)
    if layout == CLEAN:
        return CleanFolderPairs(root, task=_needs_task(task, data), split=split, seed=seed)
    return FolderPairs(root, task=task, split=split, layout=layout)


def _needs_task(task: str | None, data: str | Path) -> str:
    if task is None:
        raise IrkdError(
            f"{data} holds clean images, to be degraded for a task: add --task with one of "
            f"{', '.join(DEGRADATIONS)}."
        )
    return check_task(task)
