"""A folder as RTTS unpacks to: Annotations, ImageSets/Main/test.txt, JPEGImages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_detectors import CLASSES, draw_squares, save_picture

WIDTH, HEIGHT = 128, 96
OBJECTS: dict[str, list[tuple[int, int, int, int, int]]] = {
    "AM_Bing_211": [(0, 16, 16, 16, 16), (1, 64, 32, 16, 16)],
    "AM_Google_7": [(0, 96, 48, 16, 16)],
    "YT_Bing_002": [],
}
"""Class, x, y, width, height by image; the last image has nothing in it."""


def annotation(name: str, objects: list[tuple[int, int, int, int, int]], classes=CLASSES) -> str:
    """As labelImg writes it: 1-based corners, both ends included, an absolute path long gone."""
    things = "".join(
        f"""\t<object>
\t\t<name>{classes[kind]}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>{x + 1}</xmin>
\t\t\t<ymin>{y + 1}</ymin>
\t\t\t<xmax>{x + width}</xmax>
\t\t\t<ymax>{y + height}</ymax>
\t\t</bndbox>
\t</object>
"""
        for kind, x, y, width, height in objects
    )
    return f"""<annotation>
\t<folder>JPEGImages</folder>
\t<filename>elsewhere.jpg</filename>
\t<path>/home/somebody/haze/elsewhere.jpg</path>
\t<source>
\t\t<database>Unknown</database>
\t</source>
\t<size>
\t\t<width>{WIDTH}</width>
\t\t<height>{HEIGHT}</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>0</segmented>
{things}</annotation>
"""


def write_rtts(root: Path, gain: float = 0.4, classes=CLASSES) -> Path:
    """Annotations of OBJECTS and dimmed images of them."""
    for name, objects in OBJECTS.items():
        file = root / "Annotations" / f"{name}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(annotation(name, objects, classes))
    listed = root / "ImageSets" / "Main" / "test.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("".join(f"{name}\n" for name in OBJECTS))
    write_images(root / "JPEGImages", gain)
    return root


def write_images(folder: Path, gain: float = 1.0, suffix: str = ".png") -> Path:
    for name, objects in OBJECTS.items():
        picture: np.ndarray = draw_squares(WIDTH, HEIGHT, objects, gain)
        save_picture(folder / f"{name}{suffix}", picture)
    return folder
