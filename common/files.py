# SPDX-License-Identifier: Apache-2.0
"""Files: written whole or not at all, and JSON lists that are read one element at a time."""

import contextlib
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from common.cli import UserError

COPY_AGAIN = "Copy the file again"
DEEPEST_YAML = 30  # lists within lists; reading time grows with the square
MOST_YAML_BYTES = 64_000  # ten times the largest published one; it takes seconds
_DECODER = json.JSONDecoder()
_UNFINISHED = re.compile(r"\..+\.(\d{1,9})\.unfinished")
_WHITE_SPACE = re.compile(r"[ \t\n\r]*")
# Outlines of COCO's annotations are six tenths of its file, and five sixths of the time to parse it.
_POLYGONS = re.compile(r'("segmentation"\s*:\s*)\[\s*\[[-+0-9.,eE\s\[\]]*\]')
SKIPPED = f"polygons {uuid.uuid4().hex}"  # what stands for them; no file has this


class PolygonsNeeded(Exception):  # noqa: N818  no fault of the file
    """An element is of use only with the polygons that were skipped."""


def write_atomically(path: str | Path, content: bytes) -> None:
    """Writes a file whole or not at all, see `replacing`."""
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends: `path` is never half written.

    Raises UserError where the disk is full or the folder not writable; an older file at `path` stays as it was.
    """
    path = target_of(path)
    temporary = unfinished_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write {path}: {reason}; free space there or name another place, then type the command again"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def unfinished_name(path: Path) -> Path:
    """Where a file or folder grows that will be renamed to `path` when it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.unfinished")


def remove_unfinished(folder: Path) -> None:
    """Removes what processes that were killed left half written in a folder and those in it."""
    for entry in list(folder.rglob(".*.unfinished")):
        match = _UNFINISHED.fullmatch(entry.name)
        if match and not _is_alive(int(match[1])):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    """Whether another process has this number; where one cannot ask, it counts as alive."""
    if process == os.getpid():
        return False
    try:
        if os.name == "posix":
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):  # a rename is durable once its folder is on the disk
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def target_of(path: str | Path) -> Path:
    """Where a file is really written: what a link leads to. Raises UserError where anything but a file is there."""
    real = Path(os.path.realpath(path))
    try:
        mode = real.lstat().st_mode if os.path.lexists(real) else stat.S_IFREG
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another file") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, pipe or link that leads nowhere"
        raise UserError(f"cannot write {path}: {kind} is there; name another file")
    return real


def json_sections(path: str | Path, skip_polygons: bool = False) -> Iterator[tuple[str, Iterator[Any]]]:
    """The entries of a JSON object, in the file's order: (key, elements of its list); a plain value is one element.

    Elements are parsed when they are asked for, so the file never stands in memory as objects (COCO's 294 MB would
    become 1.3 GB). `skip_polygons`: a `segmentation` of polygons is the word SKIPPED instead. Raises UserError, naming
    file, line and character, where the file is missing or not whole JSON.
    """
    return _Cursor(path, skip_polygons).sections()


def read_json(path: str | Path) -> Any:
    """The content of a JSON file. Raises UserError, naming file, line and character, as `json_sections` does."""
    return _decoded(path, json.loads, _text(path))


def _decoded(path: str | Path, decode: Callable[..., Any], *text: Any) -> Any:
    try:
        return decode(*text)
    except json.JSONDecodeError as error:
        raise _damage(path, error) from error
    except RecursionError as error:
        raise UserError(f"{path}: lists within lists beyond what JSON is read to: damaged. {COPY_AGAIN}") from error
    except ValueError as error:  # Python reads no numbers of more than 4,300 digits
        raise UserError(f"{path}: a number of thousands of digits: damaged. {COPY_AGAIN}") from error


def _text(path: str | Path) -> str:
    """The text of a JSON file in any Unicode encoding, without a byte-order mark."""
    try:
        content = read_bytes(path)
        return content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a JSON text (byte {error.start}: {error.reason}). {COPY_AGAIN}") from error


def size_of(path: str | Path) -> int:
    """Bytes of a regular file. Raises UserError for a pipe, which one would wait for, or a folder; OSError."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: {'a folder' if stat.S_ISDIR(found.st_mode) else 'no regular file'}; name a file")
    return found.st_size


def read_bytes(path: str | Path, most: int | None = None) -> bytes:
    """The content of a regular file. Raises UserError, for more than `most` bytes too, without having read it."""
    try:
        size = size_of(path)
        if most is not None and size > most:
            raise UserError(f"{path}: {size} bytes, more than such a file can have ({most}); name another one")
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file in any Unicode encoding. Raises UserError, naming file and place, where it is none.

    References (`*name`) are refused: a few lines of them can stand for more than fits into memory.
    """
    import yaml  # the launchers, which read none, say in one line that packages are missing

    content = read_bytes(path, MOST_YAML_BYTES)
    try:
        depth = 0
        for token in yaml.scan(content):
            name = type(token).__name__
            depth += name.endswith("StartToken") - name.endswith("EndToken")
            if depth > DEEPEST_YAML or isinstance(token, yaml.AliasToken):
                what = "references (*name)" if depth <= DEEPEST_YAML else "lists within lists without an end"
                raise UserError(f"{path}: no YAML that is read: {what}; write it out plainly")
        return yaml.safe_load(content)
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: no YAML ({' '.join(str(error).split())[:150]})") from error


def _damage(path: str | Path, error: json.JSONDecodeError) -> UserError:
    place = f"line {error.lineno}, character {error.pos} of {len(error.doc)}"
    return UserError(f"{path}: cut short or damaged at {place}: {error.msg}. {COPY_AGAIN}")


class _Cursor:
    """A place in a JSON text that moves forward over the entries of its object."""

    def __init__(self, path: str | Path, skip_polygons: bool = False) -> None:
        self._path, self._skips = path, skip_polygons
        self._text = _POLYGONS.sub(rf'\1"{SKIPPED}"', _text(path)) if skip_polygons else _text(path)
        self._place = 0

    def sections(self) -> Iterator[tuple[str, Iterator[Any]]]:
        if self._is_at("["):
            raise UserError(f"{self._path}: a list, where an object with lists (`images`, `annotations`) is needed")
        self._expect("{")
        for _ in self._until("}"):
            key = self._value()
            self._expect(":")
            elements = self._elements()
            yield str(key), elements
            for _ in elements:  # what the caller left over
                pass
        if not self._is_at(""):
            raise self._error("Extra data")

    def _elements(self) -> Iterator[Any]:
        if not self._is_at("["):
            yield self._value()
            return
        self._expect("[")
        for _ in self._until("]"):
            yield self._value()

    def _until(self, end: str) -> Iterator[None]:
        """Steps over the commas between entries, and over `end`."""
        if not self._is_at(end):
            yield
            while self._is_at(","):
                self._expect(",")
                yield
        self._expect(end)

    def _is_at(self, mark: str) -> bool:
        """Moves over white space. An empty mark is the end of the text."""
        space = _WHITE_SPACE.match(self._text, self._place)
        self._place = space.end() if space else self._place
        return self._text.startswith(mark, self._place) if mark else self._place == len(self._text)

    def _expect(self, mark: str) -> None:
        if not self._is_at(mark):
            raise self._error(f"Expecting {mark!r}")
        self._place += len(mark)

    def _value(self) -> Any:
        self._is_at("")
        try:
            value, self._place = _decoded(self._path, _DECODER.raw_decode, self._text, self._place)
        except UserError:
            self._find_place()
            raise
        return value

    def _find_place(self) -> None:
        """Reads the whole text where parts were skipped: its error says the place in the file."""
        if self._skips:
            for _, elements in _Cursor(self._path).sections():
                for _ in elements:
                    pass

    def _error(self, message: str) -> UserError:
        self._find_place()
        return _damage(self._path, json.JSONDecodeError(message, self._text, self._place))
