"""Pascal VOC's XML annotations, in which RTTS and many others come."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

from irkd.errors import IrkdError
from irkd.metrics.detection_files import Sizes, counted_noun, read_text, size_finder, stated_size
from irkd.metrics.detection_sets import AnnotatedImage, Gathered, GroundTruth


def read_voc(root: Path, folder: Path, sizes: Sizes | None) -> GroundTruth:
    gathered = Gathered(root)
    files = sorted(folder.rglob("*.xml"))
    listed = root / "ImageSets" / "Main" / "test.txt"
    if folder != root and listed.is_file():
        files = _listed(listed, folder, files, gathered.notes)
    known = size_finder(sizes)
    images: list[AnnotatedImage] = []
    numbers_of: dict[str, int] = {}
    for index, file in enumerate(files):
        tree = _parse_xml(file)
        # The file's own name: <filename> is often that of a folder long gone.
        name = file.relative_to(folder).with_suffix("").as_posix()
        stated = [_whole(tree.findtext(f"size/{side}")) for side in ("height", "width")]
        height, width = stated_size(*stated) or known(name)
        image = AnnotatedImage(index + 1, name, width, height)
        images.append(image)
        for entry in tree.findall("object"):
            label = (entry.findtext("name") or "").strip()
            if not label:
                raise IrkdError(f"{file}: an object has no <name>.")
            kind = numbers_of.setdefault(label, len(numbers_of) + 1)
            box = _voc_box(file, label, entry, image)
            ignored = (entry.findtext("difficult") or "0").strip() not in ("0", "")
            gathered.add(index, image, kind, box, ignored)
    # In the order of the alphabet, whichever image comes first.
    categories = {numbers_of[label]: label for label in sorted(numbers_of)}
    return gathered.ground_truth("voc", images, categories)


def _listed(listed: Path, folder: Path, files: list[Path], notes: list[str]) -> list[Path]:
    by_name = {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}
    wanted = [line.strip() for line in read_text(listed).splitlines() if line.strip()]
    missing = [name for name in wanted if name not in by_name]
    if missing:
        cases = counted_noun(len(missing), "such case")
        raise IrkdError(
            f"{listed} names {missing[0]!r}, and {folder} holds no {missing[0]}.xml "
            f"({cases} in {len(wanted)}). To take all annotations, give {folder}."
        )
    if not wanted:
        raise IrkdError(f"{listed} is empty. To take all annotations, give {folder}.")
    if len(set(wanted)) < len(by_name):
        notes.append(f"the {len(set(wanted))} of {len(by_name)} images that {listed} lists")
    return [by_name[name] for name in dict.fromkeys(wanted)]


def _parse_xml(file: Path) -> ElementTree.Element:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise IrkdError(f"{file} cannot be read: {error.strerror}.") from error
    if not content.strip():
        raise IrkdError(f"{file} is empty.")
    # Annotations have no use for entities, and entities can be made to fill the memory.
    if re.search(rb"<!\s*(DOCTYPE|ENTITY)", content):
        raise IrkdError(f"{file} declares a document type or entities; annotations have none.")
    try:
        tree = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise IrkdError(f"{file} is damaged or no XML: {error}.") from error
    if tree.tag != "annotation":
        raise IrkdError(f"{file} holds <{tree.tag}>; expected VOC's <annotation>.")
    return tree


def _voc_box(
    file: Path, label: str, entry: ElementTree.Element, image: AnnotatedImage
) -> list[float]:
    corners = []
    for side in ("xmin", "ymin", "xmax", "ymax"):
        text = entry.findtext(f"bndbox/{side}")
        try:
            corners.append(float(text or ""))
        except ValueError as error:
            raise IrkdError(f"{file}: a {label} has no number as its <{side}>.") from error
    if not all(map(math.isfinite, corners)):
        raise IrkdError(f"{file}: a {label} has corners {corners}; expected finite numbers.")
    left, top, right, bottom = corners
    if right < left or bottom < top:
        raise IrkdError(
            f"{file}: a {label} from x {left:g} to {right:g}, y {top:g} to {bottom:g} ends before "
            "it begins. Correct or remove it."
        )
    # 1-based, both ends included: 1 to W is the whole width. Some files count from 0 all the same.
    x, y = max(left - 1, 0.0), max(top - 1, 0.0)
    return [x, y, right - x, bottom - y]


def _whole(text: str | None) -> int | None:
    try:
        return int(float(text or ""))
    except (ValueError, OverflowError):
        return None
