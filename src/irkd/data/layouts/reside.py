"""RESIDE: Li et al., TIP 2019. Outdoor training images (OTS), and the test sets of SOTS."""

from __future__ import annotations

import re

from irkd.data.layouts.glance import Glance
from irkd.data.layouts.side_folders import SideFolders

_HAZY = ("hazy", "haze")
_CLEAR = ("clear", "gt")
_INDOOR, _OUTDOOR = ("indoor", "nyuhaze500", "sots_indoor"), ("outdoor", "sots_outdoor")
# 1400_1 indoors; 0001_0.8_0.2 (image, airlight, scattering) outdoors.
_INDOOR_STEM = re.compile(r"\d+_\d{1,2}")
_OUTDOOR_STEM = re.compile(r"\d+_(?:0?\.\d+|1(?:\.0+)?)_(?:0?\.\d+|1(?:\.0+)?)")


def _kinds(glance: Glance) -> set[str]:
    """Which of OTS and the two parts of SOTS stand below the root."""
    kinds = set()
    for path, hazy, clear in glance.sides(_HAZY, _CLEAR):
        # Repackaged, the clear images are copied under the names of the hazy ones: plain pairs.
        if not hazy or not clear or not all(stem.isdigit() for stem in clear):
            continue
        if all(_INDOOR_STEM.fullmatch(stem) for stem in hazy):
            kinds.add("indoor")
        if all(_OUTDOOR_STEM.fullmatch(stem) for stem in hazy):
            tested = glance.has_part(path, "sots", *_OUTDOOR) or _png(glance, path)
            kinds.add("outdoor" if tested else "ots")
    return kinds


def _png(glance: Glance, path: str) -> bool:
    """Clear images of SOTS outdoor are PNG and its hazy ones JPEG; those of OTS are all JPEG."""
    for name in glance.folders[path].folders:
        folder = glance.folders.get(f"{path}/{name}" if path else name)
        if folder and name.lower() in _CLEAR and folder.images:
            return all(image.lower().endswith(".png") for image in folder.images)
    return False


def _first(stem: str) -> str:
    """The text before the first underscore."""
    return stem.partition("_")[0]


OTS = SideFolders(
    name="ots",
    description="hazy/ID_AIRLIGHT_BETA, also in haze/part1/ and so on, and clear/ID (RESIDE OTS)",
    data_set="ots",
    signature=lambda glance: _kinds(glance) == {"ots"},
    degraded_folders=_HAZY,
    reference_folders=_CLEAR,
    degraded_key=_first,
    within_subfolders=False,
)
SOTS_INDOOR = SideFolders(
    name="sots-indoor",
    description="hazy/ID_NUMBER and gt/ID or clear/ID, 10 pixels larger on each side (RESIDE SOTS)",
    data_set="sots-indoor",
    signature=lambda glance: _kinds(glance) == {"indoor"},
    degraded_folders=_HAZY,
    reference_folders=_CLEAR,
    degraded_key=_first,
    reference_border=10,
    not_below=_OUTDOOR,
)
SOTS_OUTDOOR = SideFolders(
    name="sots-outdoor",
    description="hazy/ID_AIRLIGHT_BETA and gt/ID with another ending (RESIDE SOTS)",
    data_set="sots-outdoor",
    signature=lambda glance: _kinds(glance) == {"outdoor"},
    degraded_folders=_HAZY,
    reference_folders=_CLEAR,
    degraded_key=_first,
    not_below=_INDOOR,
)
RESIDE = SideFolders(
    name="reside",
    description="hazy/ID_ANYTHING and clear/ID (any part of RESIDE: ITS, OTS, SOTS)",
    degraded_key=_first,
    reference_border=10,
    generic=True,
)

LAYOUTS = (OTS, SOTS_INDOOR, SOTS_OUTDOOR, RESIDE)
