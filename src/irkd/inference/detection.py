"""Scoring restoration by what a detector finds: detections of other tools, or a detector run here.

The downstream test of the SKD and SLKD papers (YOLOv4 on degraded, restored and clean images).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from irkd.data.reading import read_image
from irkd.environment import choose_device, describe_environment
from irkd.errors import IrkdError
from irkd.files import refuse_existing, write_text
from irkd.inference.candidates import Candidate, Model, open_models
from irkd.inference.detection_images import FolderSizes, images_beside, images_there, misfit
from irkd.inference.detector import CONFIDENCE, OVERLAP, Detector
from irkd.inference.image_sets import Picture, ResultFolder, result_folders
from irkd.metrics.class_names import ClassMap
from irkd.metrics.detection import average_precision, require_library
from irkd.metrics.detection_ground_truth import read_ground_truth
from irkd.metrics.detection_results import read_detections
from irkd.metrics.detection_sets import Collector, Detections, GroundTruth
from irkd.metrics.protocols import quantized
from irkd.report.detection import DetectionEvaluation, DetectionRow, Kind
from irkd.report.evaluation import DEGRADED, Failure

Progress = Callable[[int, int, str], None]


def evaluate_detections(
    ground_truth: str | Path,
    detections: Mapping[str, str | Path] | None = None,
    *,
    detector: str | Path | None = None,
    models: Model | Sequence[Model] | Mapping[str, Model] = (),
    images: str | Path | None = None,
    restored: str | Path | Sequence[str | Path] | Mapping[str, str | Path] = (),
    classes: str | Path | None = None,
    detector_classes: str | Path | None = None,
    detector_layout: str = "auto",
    detector_size: int | None = None,
    nms: float = OVERLAP,
    save_detections: str | Path | None = None,
    overwrite: bool = False,
    limit: int | None = None,
    backend: str = "auto",
    device: str = "auto",
    tile: Literal["auto", "off"] | int = "auto",
    overlap: int | None = None,
    precision: Literal["fp32", "fp16", "bf16"] = "fp32",
    task: str | None = None,
    options: Mapping[str, object] | None = None,
    command: str | None = None,
    progress: Progress | None = None,
) -> DetectionEvaluation:
    """Average precision of detections on several versions of the same images.

    Args:
        ground_truth: COCO's JSON, a folder of VOC's XML (RTTS), or one of YOLO's text files.
        detections: files or folders of detections that other tools made, by label.
        detector: an ONNX file to run on `images`, on the folders `restored`, and on what `models`
            make of `images`.
        images: the folder of the degraded images; by default `JPEGImages` beside VOC's annotations
            and `images` beside YOLO's labels. Only images that it holds are scored.
        classes: the names of a YOLO ground truth's classes.
        detector_classes: what the detector's class numbers mean, in `detections` too.
        detector_size: the side of the detector's input, for files that leave it open.
        nms: of two boxes of a class that overlap by more, the detector keeps the surer one.
        save_detections: a folder to write each row's detections to as COCO's results JSON, with
            `ground_truth.json` beside them.
        limit: the first so many images only.

    The other arguments are those of `irkd.evaluate`. Rows for which an image is missing or cannot
    be restored are left out and listed in the result's `failures`: precision over fewer images
    would not be comparable.

    Raises IrkdError for input that makes no sense, or when no row is left.
    """
    detections = dict(detections or {})
    folders = result_folders(restored)
    _refuse_senseless(detector, detections, models, folders, limit)
    require_library()
    place = images_beside(Path(ground_truth)) if images is None else Path(images)
    pictures = ResultFolder(place) if place is not None else None
    sizes = FolderSizes(pictures) if pictures is not None else None
    truth = read_ground_truth(ground_truth, classes=classes, sizes=sizes)
    notes = [f"ground truth: {note}." for note in truth.notes]
    found = {
        label: read_detections(path, truth, classes=detector_classes)
        for label, path in detections.items()
    }
    # A folder that was not named, and is not needed, decides nothing.
    deciding = pictures if images is not None or detector is not None else None
    kept = images_there(truth, deciding, notes)[:limit]
    scored = truth.subset(kept)
    if not scored.counted.any():
        raise IrkdError(
            f"the {len(kept)} images to score hold no objects: average precision needs some."
        )
    found = {label: each.subset(kept, len(truth.images)) for label, each in found.items()}

    chosen_device = str(choose_device(device)) if models else "cpu"
    finder = None
    candidates: list[Candidate] = []
    failures: list[Failure] = []
    if detector is not None:
        if pictures is None and (models or not folders):
            raise IrkdError("give the folder of the degraded images with --images DIR.")
        finder = Detector(
            detector,
            layout=detector_layout,
            classes=detector_classes,
            size=detector_size,
            overlap=nms,
            device=device if device.startswith("cuda") else "auto",
        )
        candidates = open_models(
            models,
            backend=backend,
            device=chosen_device,
            tile=tile,
            overlap=overlap,
            precision=precision,
            task=task,
            options=options,
        )
        notes += [
            f"{candidate.label}: {why}"
            for candidate in candidates
            for why in getattr(candidate.restorer.network, "assumptions", ())
        ]
    versions = _Versions(pictures if finder is not None else None, candidates, folders)
    taken = [*versions.labels, *found, "ground_truth"]
    double = [label for label in taken if taken.count(label) > 1]
    if double:
        raise IrkdError(f"two rows would be called {double[0]!r}. Give one another label.")
    files = _check_files(save_detections, taken, overwrite)
    if finder is not None:
        run, failures = _detect(finder, versions, scored, progress)
        found = {**run, **found}
    if not found:
        raise IrkdError(f"nothing could be scored. {failures[0].label}: {failures[0].reason}")
    for label, path in files.items():
        if label in found:
            _write(path, found[label].to_coco(scored), overwrite)
    if files:
        _write(files["ground_truth"], scored.to_coco(), overwrite)
    environment = describe_environment(chosen_device)
    environment["versions"]["faster-coco-eval"] = version("faster-coco-eval")
    return DetectionEvaluation(
        str(ground_truth),
        len(scored.images),
        dict(zip(scored.classes, scored.counted.tolist(), strict=True)),
        int(scored.ignored.sum()),
        tuple(
            DetectionRow(
                label,
                versions.kinds.get(label, "detections"),
                versions.sources.get(label) or str(detections.get(label, "")) or None,
                len(each),
                average_precision(scored, each),
            )
            for label, each in found.items()
        ),
        None if finder is None else _described(finder, nms),
        {"limit": limit},
        environment,
        (*notes, *(f"{label}: {note}." for label, each in found.items() for note in each.notes)),
        tuple(failures),
        command,
    )


def _refuse_senseless(
    detector: str | Path | None,
    detections: Mapping[str, str | Path],
    models: Model | Sequence[Model] | Mapping[str, Model],
    folders: Mapping[str, ResultFolder],
    limit: int | None,
) -> None:
    if detector is None and (models or folders):
        raise IrkdError(
            "models and --restored folders are scored by a detector: give --detector FILE.onnx."
        )
    if detector is None and not detections:
        raise IrkdError(
            "nothing to score: give --detections LABEL=PATH, or a --detector FILE.onnx to run."
        )
    if limit is not None and limit < 1:
        raise IrkdError(f"limit must be at least 1, not {limit}.")


# Running the detector.


class _Versions:
    """The versions of the images that the detector is run on, by label."""

    def __init__(
        self,
        pictures: ResultFolder | None,
        candidates: Sequence[Candidate],
        folders: Mapping[str, ResultFolder],
    ) -> None:
        self.pictures, self.candidates, self.folders = pictures, candidates, folders
        self.kinds: dict[str, Kind] = {DEGRADED: "degraded"} if pictures is not None else {}
        self.sources = {DEGRADED: str(pictures.path)} if pictures is not None else {}
        self.labels = list(self.kinds)
        for candidate in candidates:
            self.labels.append(candidate.label)
            self.kinds[candidate.label] = "model"
            self.sources[candidate.label] = candidate.source or ""
        for label, folder in folders.items():
            self.labels.append(label)
            self.kinds[label] = "restored"
            self.sources[label] = str(folder.path)

    def misfits(self, truth: GroundTruth) -> list[Failure]:
        """Folders that lack an image, or hold one of another size; known before the work begins.

        Raises IrkdError where the annotations are for other sizes than the degraded images have.
        """
        if self.pictures is not None:
            wrong = misfit(self.pictures, truth)
            if wrong is not None:
                raise IrkdError(f"{self.pictures.path}: {wrong[0]}: {wrong[1]}")
        found = {label: misfit(folder, truth) for label, folder in self.folders.items()}
        return [Failure(label, *wrong) for label, wrong in found.items() if wrong is not None]

    def of(self, name: str, wanted: Sequence[str]) -> Iterator[tuple[str, Picture | IrkdError]]:
        """The `wanted` versions of the image called `name`, or why there is none."""
        degraded: Picture | IrkdError | None = None
        if self.pictures is not None:
            degraded = _read(self.pictures, name)
            if DEGRADED in wanted:
                yield DEGRADED, degraded
        for candidate in self.candidates:
            if candidate.label in wanted:
                assert degraded is not None
                if isinstance(degraded, IrkdError):
                    yield candidate.label, degraded
                    continue
                try:
                    inputs = np.divide(degraded, 255, dtype=np.float32)
                    restored = quantized(candidate.restorer(inputs))
                except IrkdError as error:
                    yield candidate.label, error
                    continue
                yield candidate.label, restored
        for label, folder in self.folders.items():
            if label in wanted:
                yield label, _read(folder, name)


def _read(folder: ResultFolder, name: str) -> Picture | IrkdError:
    path = folder.find(name)
    if path is None:
        return IrkdError(f"{folder.path} holds no image of this name.")
    try:
        return read_image(path)
    except IrkdError as error:
        return error


def _detect(
    finder: Detector, versions: _Versions, truth: GroundTruth, progress: Progress | None
) -> tuple[dict[str, Detections], list[Failure]]:
    """Run the detector on all versions of all images; a version that fails on one is given up."""
    classes = ClassMap(finder.classes, truth.classes, str(finder.path))
    found = {label: Collector(classes) for label in versions.labels}
    failures = versions.misfits(truth)
    for failure in failures:
        del found[failure.label]
    for index, image in enumerate(truth.images):
        if not found:
            break
        for label, picture in versions.of(image.name, list(found)):
            try:
                if isinstance(picture, IrkdError):
                    raise picture
                found[label].add(index, *finder(picture))
            except IrkdError as error:
                failures.append(Failure(label, image.name, str(error)))
                del found[label]
        if progress is not None:
            progress(index + 1, len(truth.images), image.name)
    return {label: each.detections() for label, each in found.items()}, failures


def _described(finder: Detector, nms: float) -> dict[str, Any]:
    return {
        "source": str(finder.path),
        "layout": finder.layout.name,
        "height": finder.size[0],
        "width": finder.size[1],
        "classes": len(finder.classes),
        "confidence": CONFIDENCE,
        "nms": nms,
    }


# Writing what was found.


def _check_files(
    folder: str | Path | None, labels: Sequence[str], overwrite: bool
) -> dict[str, Path]:
    """Where each row's detections go; refused before the work if they cannot."""
    if folder is None:
        return {}
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise IrkdError(f"--save-detections {folder} is a file; name a folder.")
    names = {label: label.replace("/", "_").replace("\\", "_") for label in labels}
    if len(set(names.values())) < len(names):
        raise IrkdError("labels must differ in more than slashes to be written as files.")
    files = {label: path / f"{name}.json" for label, name in names.items()}
    for file in files.values():
        refuse_existing(file, overwrite)
    return files


def _write(path: Path, content: Any, overwrite: bool) -> None:
    write_text(path, json.dumps(content, allow_nan=False), overwrite=overwrite)
