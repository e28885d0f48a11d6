"""How data sets are arranged on disk, and finding out which way a given folder is.

A layout is a module of this package with `LAYOUTS`, or of a package named by an entry point of the
group `irkd.data.layouts`. Files pair by what their names say, never by order.
"""

from irkd.data.layouts.base import Degraded, Entry, FoundPair, Layout, Missing, Reference
from irkd.data.layouts.choosing import (
    AUTO,
    CLEAN,
    Found,
    best_rule,
    check_folder,
    check_layout,
    choose_layout,
    find_pairs,
    known_layout,
    layouts,
    open_matches,
    recognised,
    split_folder,
    split_folders,
    splits_of,
)
from irkd.data.layouts.side_folders import DEGRADED_FOLDERS, REFERENCE_FOLDERS
from irkd.data.layouts.walking import images_below, list_images

__all__ = [
    "AUTO",
    "CLEAN",
    "DEGRADED_FOLDERS",
    "REFERENCE_FOLDERS",
    "Degraded",
    "Entry",
    "Found",
    "FoundPair",
    "Layout",
    "Missing",
    "Reference",
    "best_rule",
    "check_folder",
    "check_layout",
    "choose_layout",
    "find_pairs",
    "images_below",
    "known_layout",
    "layouts",
    "list_images",
    "open_matches",
    "recognised",
    "split_folder",
    "split_folders",
    "splits_of",
]
