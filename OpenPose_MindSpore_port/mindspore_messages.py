# SPDX-License-Identifier: Apache-2.0
"""Where the parameters of a MindSpore checkpoint stand in its bytes: the protocol-buffer fields, without protobuf.

A file is one message `Checkpoint` whose field 1 is repeated for every parameter, or for every piece of a large one:
`Value{tag = 1, tensor = 2, maptensor = 3}`, `Tensor{dims = 1, tensor_type = 2, tensor_content = 3}`. Other fields are
skipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from common.train.checkpoint import CheckpointError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
MAP = "map of tensors"  # the kind of a parameter that is no tensor
# No network comes near these; a damaged file may, and would keep the reader busy for minutes.
MOST_FIELDS, MOST_DIMS, MOST_NAME_BYTES = 500_000, 32, 4096
_MOST_VARINT_BYTES, _WORD = 10, 64
_LOW_BITS, _MORE = 0x7F, 0x80


class Field(NamedTuple):
    """A field of a message: a number, or the bytes from `begin` to `end`; `place` is where it starts."""

    number: int
    wire: int
    value: int
    begin: int
    end: int
    place: int


@dataclass
class Entry:
    """One parameter: `kind` is its data type as written, `pieces` are the places of its content (begin, end)."""

    name: str = ""
    kind: str = ""
    dims: tuple[int, ...] = ()
    pieces: list[tuple[int, int]] = field(default_factory=list)

    @property
    def num_bytes(self) -> int:
        return sum(end - begin for begin, end in self.pieces)


def index(path: Path, content: memoryview) -> list[Entry]:
    """The parameters in the file's order, pieces of one joined; nothing of their content is read.

    `path` is for messages alone. Raises CheckpointError, which names the byte, where the file is cut short, damaged,
    or no MindSpore checkpoint.
    """
    return _Messages(path, content).entries()


class _Messages:
    """A checkpoint's bytes and how many fields of it have been looked at."""

    def __init__(self, path: Path, content: memoryview) -> None:
        self._path = path
        self._content = content
        self._fields = 0

    def entries(self) -> list[Entry]:
        found: dict[str, Entry] = {}
        last = ""
        for part in self._all_fields(0, len(self._content)):
            if part.number != 1:
                continue
            entry = self._entry(part)
            if entry.name not in found:
                found[entry.name] = entry
            elif entry.name != last or (entry.kind, entry.dims) != (found[last].kind, found[last].dims):
                raise self._damaged(part.place, f"a second parameter {entry.name}")
            else:
                found[last].pieces += entry.pieces
            last = entry.name
        if not found:
            raise CheckpointError(f"{self._path}: holds no parameters; is it a MindSpore checkpoint?")
        return list(found.values())

    def _entry(self, value: Field) -> Entry:
        entry = Entry()
        self._expect(value, BYTES, "a parameter")
        for part in self._all_fields(value.begin, value.end):
            if part.number == 1:
                entry.name = self._text(part)
            elif part.number == 2:
                self._read_tensor(part, entry)
            elif part.number == 3:
                entry.kind = MAP
                entry.pieces.append((part.begin, part.end))
        if not (entry.name and entry.kind and entry.pieces):
            raise self._damaged(value.place, f"a parameter ({entry.name or 'no name'}) without name, type or content")
        return entry

    def _read_tensor(self, tensor: Field, entry: Entry) -> None:
        self._expect(tensor, BYTES, "a tensor")
        dims: list[int] = []
        for part in self._all_fields(tensor.begin, tensor.end):
            if part.number == 1:
                dims += self._dims(part)
                if len(dims) > MOST_DIMS or min(dims, default=0) < 0:
                    raise self._damaged(part.place, f"{entry.name} has the shape {dims[:4]}...")
            elif part.number == 2:
                entry.kind = self._text(part)
            elif part.number == 3:
                self._expect(part, BYTES, "content")
                entry.pieces = [(part.begin, part.end)]
        entry.dims = tuple(dims)

    def _dims(self, part: Field) -> list[int]:
        """One size, or all of them in one field: readers of protocol buffers take both."""
        if part.wire != BYTES:
            return [_signed(part.value)]
        sizes: list[int] = []
        place = part.begin
        while place < part.end and len(sizes) <= MOST_DIMS:
            size, place = self._varint(place, part.end)
            sizes.append(_signed(size))
        return sizes

    def _text(self, part: Field) -> str:
        self._expect(part, BYTES, "a name")
        if part.end - part.begin > MOST_NAME_BYTES:
            raise self._damaged(part.place, f"a name of {part.end - part.begin} bytes")
        try:
            text = str(self._content[part.begin : part.end], "utf-8")
        except UnicodeDecodeError as error:
            raise self._damaged(part.place, f"a name that is no text ({error.reason})") from error
        if not text.isprintable():  # names stand in messages, which are one line
            raise self._damaged(part.place, f"a name that cannot be printed, {text[:40]!r}")
        return text

    def _all_fields(self, begin: int, end: int) -> Iterator[Field]:
        place = begin
        while place < end:
            self._fields += 1
            if self._fields > MOST_FIELDS:
                raise self._damaged(place, f"more than {MOST_FIELDS} fields before it")
            part = self._field(place, end)
            yield part
            place = part.end

    def _field(self, place: int, end: int) -> Field:
        key, begin = self._varint(place, end)
        number, wire, value, size = key >> 3, key & 7, 0, 0
        if wire == VARINT:
            value, begin = self._varint(begin, end)
        elif wire == BYTES:
            size, begin = self._varint(begin, end)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        if wire not in (VARINT, FIXED64, BYTES, FIXED32) or number == 0:
            raise self._damaged(place, "no field of a checkpoint begins there")
        if begin + size > end:
            raise self._damaged(place, f"{size} bytes announced, {end - begin} left")
        return Field(number, wire, value, begin, begin + size, place)

    def _varint(self, place: int, end: int) -> tuple[int, int]:
        """A number of 7 bits a byte, lowest first, and the place behind it."""
        value = 0
        for count, byte in enumerate(self._content[place : min(end, place + _MOST_VARINT_BYTES)]):
            value |= (byte & _LOW_BITS) << (7 * count)
            if not byte & _MORE:
                return value & ((1 << _WORD) - 1), place + count + 1
        raise self._damaged(place, "a number without an end")

    def _expect(self, part: Field, wire: int, what: str) -> None:
        if part.wire != wire:
            raise self._damaged(part.place, f"{what} expected, wire type {part.wire} found")

    def _damaged(self, place: int, why: str) -> CheckpointError:
        size = len(self._content)
        return CheckpointError(
            f"{self._path}: cut short or damaged at byte {place} of {size}: {why}. Copy the file again"
        )


def _signed(number: int) -> int:
    """A varint as int64."""
    return number - (1 << _WORD) if number >> (_WORD - 1) else number
