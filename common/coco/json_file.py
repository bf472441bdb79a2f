# SPDX-License-Identifier: Apache-2.0
"""Annotation files, read one element at a time: COCO's 294 MB are never in memory as objects (1.3 GB)."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError

_DECODER = json.JSONDecoder()
_WHITE_SPACE = re.compile(r"[ \t\n\r]*")
# Outlines of COCO's annotations are six tenths of its file, and five sixths of the time to parse it.
_POLYGONS = re.compile(r'("segmentation"\s*:\s*)\[\s*\[[-+0-9.,eE\s\[\]]*\]')
SKIPPED = f"polygons {uuid.uuid4().hex}"  # in their place; no file has this


class PolygonsNeeded(Exception):  # noqa: N818  no fault of the file
    """An element is of use only with the polygons that were skipped."""


def sections(path: str | Path, skip_polygons: bool = False) -> Iterator[tuple[str, Iterator[Any]]]:
    """The entries of a JSON object, in the file's order: (key, elements of its list); a plain value is one element.

    Elements are parsed when they are asked for. `skip_polygons`: a `segmentation` of polygons is the word SKIPPED
    instead. Raises UserError, naming file, line and character, where the file is missing or not whole JSON.
    """
    text = files.json_text(path)
    if text.lstrip().startswith("["):
        raise UserError(f"{path}: a list, where an object with lists (`images`, `annotations`) is needed")
    cursor = _Cursor(path, _POLYGONS.sub(rf'\1"{SKIPPED}"', text) if skip_polygons else text, skip_polygons)
    del text
    cursor.expect("{")
    for _ in cursor.until("}"):
        key = cursor.value()
        cursor.expect(":")
        elements = _elements(cursor)
        yield str(key), elements
        for _ in elements:  # what the caller left over
            pass
    cursor.expect("")


def _elements(cursor: "_Cursor") -> Iterator[Any]:
    if not cursor.is_at("["):
        yield cursor.value()
        return
    cursor.expect("[")
    for _ in cursor.until("]"):
        yield cursor.value()


class _Cursor:
    """A place in a JSON text that moves forward."""

    def __init__(self, path: str | Path, text: str, is_shortened: bool) -> None:
        self._path, self._text, self._is_shortened = path, text, is_shortened
        self._place = 0

    def until(self, end: str) -> Iterator[None]:
        """Steps over the commas between entries, and over `end`."""
        if not self.is_at(end):
            yield
            while self.is_at(","):
                self.expect(",")
                yield
        self.expect(end)

    def is_at(self, mark: str) -> bool:
        """Moves over white space. An empty mark is the end of the text."""
        space = _WHITE_SPACE.match(self._text, self._place)
        self._place = space.end() if space else self._place
        return self._text.startswith(mark, self._place) if mark else self._place == len(self._text)

    def expect(self, mark: str) -> None:
        """Moves over the mark. Raises UserError where something else is."""
        if not self.is_at(mark):
            what = f"Expecting {mark!r}" if mark else "Extra data"
            raise self._error(json.JSONDecodeError(what, self._text, self._place))
        self._place += len(mark)

    def value(self) -> Any:
        """Moves over a value. Raises UserError where none is."""
        self.is_at("")
        try:
            value, self._place = _DECODER.raw_decode(self._text, self._place)
        except (ValueError, RecursionError) as error:
            raise self._error(error) from error
        return value

    def _error(self, error: Exception) -> UserError:
        """Where parts were left out, the whole text is read: its error says the place in the file."""
        for _ in sections(self._path) if self._is_shortened else ():
            pass
        return files.json_error(self._path, error)
