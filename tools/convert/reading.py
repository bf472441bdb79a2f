# SPDX-License-Identifier: Apache-2.0
"""Shared by readers: errors that name file, entry and cure; numbers, visibility, XML without entities."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from common import files
from common.cli import UserError
from common.coco.fields import FAULTS, LARGEST_IMG, LONGEST_NAME, shown
from tools.convert.dataset import HIDDEN, VISIBLE

DEEPEST_XML = 30
CHUNK = 1 << 20

YES = frozenset({"1", "true", "yes", "on", "y"})
HIDING = ("occluded", "hidden", "invisible", "obscured")
SHOWING = ("visibility", "visible", "v", "vis")
VISIBILITIES = {
    **dict.fromkeys(("0", "none", "outside", "absent", "unlabelled", "unlabeled", "not labelled", "missing"), 0),
    **dict.fromkeys(("1", "hidden", "occluded", "invisible", "not visible", "obscured"), HIDDEN),
    **dict.fromkeys(("2", "visible"), VISIBLE),
}


@contextlib.contextmanager
def entry(file: Path, place: str, cure: str) -> Iterator[None]:
    """Turns an error in an entry into one line that names file, entry and cure."""
    try:
        yield
    except UserError:
        raise
    except (*FAULTS, IndexError, RecursionError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{file}: {place}: {what}. {cure}") from error


def number(value: Any, name: str = "a coordinate") -> float:
    """A finite number, also as text. Raises ValueError for any other, and for places beyond any image."""
    try:
        if isinstance(value, bool):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} is {shown(value)}, no number") from None
    if not math.isfinite(found) or abs(found) >= LARGEST_IMG:
        raise ValueError(f"{name} is {shown(value)}, no place in an image")
    return found


def size_of(width: Any, height: Any) -> tuple[int, int] | None:
    """Width and height of an image in pixels; None where the file does not say."""
    if width in (None, "") or height in (None, ""):
        return None
    sides = number(width, "width"), number(height, "height")
    if min(sides) < 1 or any(side != int(side) for side in sides):
        raise ValueError(f"width {shown(width)} and height {shown(height)} are no numbers of pixels")
    return int(sides[0]), int(sides[1])


def name_of(value: Any, what: str = "a name") -> str:
    """A name in one line, as a skeleton can have it. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_NAME or not value.isprintable():
        raise ValueError(f"{what} is {shown(value)}, no name")
    return value.strip()


def object_of(value: Any, what: str = "it") -> dict[str, Any]:
    """A JSON object. Raises ValueError for anything else."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {shown(value)}, no JSON object")
    return value


def list_of(value: Any, what: str = "it") -> list[Any]:
    """A JSON list. Raises ValueError for anything else."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is {shown(value)}, no list")
    return value


def is_yes(value: Any) -> bool:
    """Whether an attribute says yes: true, 1, "yes", "on"."""
    return str(value).strip().lower() in YES


def visibility(attributes: Mapping[str, Any]) -> int:
    """v of a point from attributes that people call `occluded`, `hidden`, `visibility`, `v`; 2 without any."""
    for name, value in attributes.items():
        word, text = str(name).strip().lower(), str(value).strip().lower()
        if word in HIDING and is_yes(value):
            return HIDDEN
        if word in SHOWING:
            if isinstance(value, bool) or text in ("true", "false", "yes", "no"):
                return VISIBLE if is_yes(value) else HIDDEN
            if text in VISIBILITIES:
                return VISIBILITIES[text]
    return VISIBLE


def source_files(source: Path, patterns: Sequence[str], what: str) -> list[Path]:
    """The file `source`, or those of the folder that fit the first pattern that any fits. Raises UserError."""
    if source.suffix.lower() in (".zip", ".rar", ".7z", ".gz", ".tar", ".tgz"):
        raise UserError(f"{source}: a packed export; unpack it into a folder of its own and name that: --source")
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder; name {what}: --source")
    for pattern in patterns:
        if found := sorted(path for path in source.glob(pattern) if path.is_file()):
            return found
    raise UserError(f"{source}: no {' and no '.join(patterns)} in it; name {what}: --source")


def xml_elements(path: Path, names: frozenset[str]) -> Iterator[ElementTree.Element]:
    """The elements of some names, each whole, in the order of the file, of which never more than one is in memory.

    Entities and document types are refused: a few lines of them can expand to more than fits into memory.
    """
    try:
        files.size_of(path)
        with path.open("rb") as file:
            parser = _Parser(names)
            while chunk := file.read(CHUNK):
                yield from parser.feed(chunk, False)
            yield from parser.feed(b"", True)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code) if error.code else str(error)
        raise UserError(f"{path}: line {error.lineno}: no whole XML ({what}). Export the file again") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (ValueError, LookupError) as error:
        raise UserError(f"{path}: {error}. Export the file again") from error


class _Parser:
    """expat, with handlers that build elements below those of the requested names only."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names, self.depth = names, 0
        self.open: list[ElementTree.Element] = []
        self.done: list[ElementTree.Element] = []
        self.expat = expat.ParserCreate()
        self.expat.buffer_text = True
        self.expat.StartDoctypeDeclHandler = self.expat.EntityDeclHandler = self._refuse
        self.expat.StartElementHandler, self.expat.EndElementHandler = self._start, self._end
        self.expat.CharacterDataHandler = self._text

    def feed(self, chunk: bytes, last: bool) -> Iterator[ElementTree.Element]:
        self.expat.Parse(chunk, last)
        yield from self.done
        self.done.clear()

    def _refuse(self, *_: Any) -> None:
        raise ValueError("document types and entities are not read")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > DEEPEST_XML:
            raise ValueError(f"elements within elements, more than {DEEPEST_XML}")
        if self.open or tag in self.names:
            element = ElementTree.Element(tag, attributes)
            if self.open:
                self.open[-1].append(element)
            self.open.append(element)

    def _end(self, tag: str) -> None:
        self.depth -= 1
        if self.open:
            element = self.open.pop()
            if not self.open:
                self.done.append(element)

    def _text(self, text: str) -> None:
        if self.open and not len(self.open[-1]):
            self.open[-1].text = (self.open[-1].text or "") + text
