"""A first look at a folder: enough names to know its arrangement, however many there are."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from irkd.data.layouts.walking import DEEPEST, is_hidden, listed, plain, stem_of
from irkd.data.reading import is_image_name

_FOLDERS = 300
_CHILDREN = 40
_FILES = 200


@dataclass
class Folder:
    """Some of what stands in one folder: names of folders, images and other files."""

    folders: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Glance:
    """Folders at and below `root` by their paths relative to it; "" is the root itself.

    `above`: the names of the root and of the two folders above it, as `plain` writes them.
    """

    root: Path
    above: tuple[str, ...]
    folders: dict[str, Folder]

    @property
    def name(self) -> str:
        """The root's own name, as `plain` writes it."""
        return self.above[0] if self.above else ""

    def sides(
        self, degraded: Collection[str], references: Collection[str]
    ) -> Iterator[tuple[str, list[str], list[str]]]:
        """Folders with a subfolder of either kind: path, stems of the one, stems of the other."""
        for path, folder in self.folders.items():
            ours = [name for name in folder.folders if plain(name) in degraded]
            theirs = [name for name in folder.folders if plain(name) in references]
            if ours and theirs:
                yield path, self.stems(path, ours[0]), self.stems(path, theirs[0])

    def stems(self, *parts: str) -> list[str]:
        """Stems of images in a folder and the folders right below it."""
        top = "/".join(part for part in parts if part)
        inside = self.folders.get(top, Folder())
        below = [self.folders.get(f"{top}/{name}", Folder()) for name in inside.folders]
        return [stem_of(name) for folder in (inside, *below) for name in folder.images]

    def has_part(self, path: str, *names: str) -> bool:
        """Whether a folder called one of `names` is on the way to `path`, or near above it."""
        return not {*self.above, *map(plain, path.split("/"))}.isdisjoint(names)


def look_at(root: Path) -> Glance:
    """The folder's names, breadth first; of a large folder some of its names."""
    resolved = root.resolve()
    above = tuple(plain(part) for part in resolved.parts[1:][-3:][::-1])
    folders: dict[str, Folder] = {}
    waiting = deque([("", 0)])
    while waiting and len(folders) < _FOLDERS:
        path, depth = waiting.popleft()
        folder = folders[path] = _listing(root / path)
        if depth <= DEEPEST:
            children = folder.folders[:_CHILDREN]
            waiting.extend((f"{path}/{name}" if path else name, depth + 1) for name in children)
    return Glance(root, above, folders)


def _listing(path: Path) -> Folder:
    folder = Folder()
    with listed(path) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            kind = folder.others
            if entry.is_dir():
                kind = folder.folders
            elif is_image_name(entry.name):
                kind = folder.images
            if len(kind) < _FILES:
                kind.append(entry.name)
    for names in (folder.folders, folder.images, folder.others):
        names.sort()
    return folder
