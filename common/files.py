# SPDX-License-Identifier: Apache-2.0
"""Files: written whole or not at all; errors of reading them are one line."""

import contextlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from common.cli import UserError

MOST_YAML_BYTES = 64_000  # ten times the largest published one; it takes seconds
_UNFINISHED = re.compile(r"\..+\.(\d{1,9})\.unfinished")


def write_atomically(path: str | Path, content: bytes) -> None:
    """Writes a file whole or not at all, see `replacing`."""
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: str | Path, before: Path | None = None) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends: `path` is never half written.

    An older file moves to `before`, where that is given, as soon as the new one is whole.
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
        if before and path.is_file():
            os.replace(path, before)
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write {path}: {reason}; free space there or name another place, then type the command again"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def unfinished_name(path: Path) -> Path:
    """The temporary name of a file or folder that is renamed to `path` when it is complete."""
    return path.with_name(f".{path.name}.{os.getpid()}.unfinished")


def remove_unfinished(folder: Path) -> None:
    """Removes the unfinished files of killed processes in a folder and its subfolders."""
    for entry in list(folder.rglob(".*.unfinished")):
        match = _UNFINISHED.fullmatch(entry.name)
        if match and not _is_another(int(match[1])):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _is_another(process: int) -> bool:
    """Whether another running process has this id."""
    with contextlib.suppress(PermissionError):  # another user's process
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return process != os.getpid()


def target_of(path: str | Path) -> Path:
    """Where a file is actually written: the target of a link. Raises UserError where anything but a file is there."""
    real = Path(os.path.realpath(path))
    if os.path.lexists(real) and not real.is_file():
        kind = "a folder" if real.is_dir() else "a device, pipe or link that leads nowhere"
        raise UserError(f"cannot write {path}: {kind} is there; name another file")
    return real


def read_json(path: str | Path) -> Any:
    """The content of a JSON file in any Unicode encoding. Raises UserError, naming file, line and character."""
    content = read_bytes(path)
    if content.startswith(b"\x80"):  # such as the labels that the original of Lightweight OpenPose prepares
        raise UserError(f"{path}: a pickle, no JSON text: name the file that it was made from")
    try:
        text = content.decode(json.detect_encoding(content))
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, character {error.pos} of {len(text)}"
        raise UserError(f"{path}: cut short or damaged at {place}: {error.msg}. Copy the file again") from error
    except (ValueError, RecursionError) as error:  # no Unicode, numbers of thousands of digits, endlessly nested lists
        raise UserError(f"{path}: not a JSON text ({error}). Copy the file again") from error


def size_of(path: str | Path) -> int:
    """Bytes of a regular file. Raises UserError for a pipe, which would block, or a folder; OSError."""
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

    References (`*name`) are refused: a few lines of them can expand to more than fits into memory.
    """
    import yaml  # imported late: launchers, which read no YAML, report missing packages in one line

    content = read_bytes(path, MOST_YAML_BYTES)
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(content)):
            raise yaml.YAMLError("references, *name: write it out plainly")
        return yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: no YAML that is read ({' '.join(str(error).split())[:150]})") from error
