# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of MindSpore (.ckpt), read and written without MindSpore and without protobuf.

    entries = read(Path("0-60_5304.ckpt"), keep=is_weight)      # name -> tensor or text
    write(Path("ours.ckpt"), model.state_dict())

A file is a message of protocol buffers whose field 1 is repeated for every parameter, or for every piece of a large
one: `{name = 1, tensor = 2}`, with `tensor {sizes = 1, type = 2, content = 3}`. Other fields are skipped. MindSpore
2.10 read what this writes, see ci/results.
"""

import math
import mmap
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from common import files
from common.cli import UserError
from common.train.checkpoint import CheckpointError

import torch
from torch import Tensor

NETWORK = "network."  # MindSpore's training wrapper puts it before the names of the weights
PIECE_BYTES = 512 << 20  # a larger tensor is written in pieces of this size
MOST_NAME_BYTES = 4096
_NAMES = "Int8 UInt8 Int16 UInt16 Int32 UInt32 Int64 UInt64 Float16 Float32 Float64 Bool BFloat16"
KINDS: dict[str, torch.dtype] = {name: getattr(torch, name.lower()) for name in _NAMES.split()}
_DTYPES = {kind.lower(): dtype for kind, dtype in KINDS.items()} | {"int4": torch.int8}  # written as a byte each
_KIND_OF = {dtype: kind for kind, dtype in KINDS.items()}
_TEXT, _TEXT_CODE = "str", "utf-32-le"
_ENCRYPTED = tuple(struct.pack("<I", 0x7F3A5ED8 + mode) for mode in range(3))  # AES-GCM, AES-CBC, SM4-CBC
_CRC_MARK, _CRC = b"crc_num", struct.Struct(">7s6xI")  # ten bytes of number, of which a CRC-32 needs four
# Our own sum is a field that no MindSpore knows (number 100003, 20 bytes), which all parsers of protocol buffers skip;
# MindSpore's trailer is no field: a release that does not cut it off cannot parse the file.
_SUM_MARK, _SUM = bytes.fromhex("9aea3014") + b"pose zoo, CRC-32", struct.Struct(">20sI")
_MOST_ELEMENTS = 1 << 48
_TRAINING_STATE = re.compile(
    r"moment\w*\.|(global_step|epoch_num|step_num|beta[12]_power|momentum|weight_decay|scale_sense|loss_scale"
    r"|learning_rate(_group_\d+)?)$"
)


def is_weight(name: str) -> bool:
    """Whether a name of a training checkpoint is none of the optimiser's: no moment, step or learning rate."""
    return not _TRAINING_STATE.match(name)


def network_weights(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of a training checkpoint by the network's own names: `network.` and the optimiser's state are gone.

    Where no weight has `network.` before its name the file was saved from the bare network: names stay.
    """
    weights = {name: value for name, value in entries.items() if is_weight(name)}
    inside = {name.removeprefix(NETWORK): value for name, value in weights.items() if name.startswith(NETWORK)}
    return inside or weights


# --- reading ---


class _Piece(NamedTuple):
    """A parameter, or a piece of a large one. `kind`: its data type as written; `shape`: of the whole."""

    kind: str
    shape: tuple[int, ...]
    content: memoryview


def read(path: Path, keep: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor | str]:
    """The parameters of a .ckpt for which `keep(name)` holds, in the file's order; scalars have no dimensions.

    Tensors are private views of the file: they take no memory until they are looked at, and writing into them does not
    reach the file. Replace such a file by renaming, as `write` does, never in place.
    Raises CheckpointError, naming the file: missing, cut short, damaged, wrong checksum, encrypted, or no MindSpore
    checkpoint.
    """
    content, pieces = _messages(path), dict[str, list[_Piece]]()
    try:
        for number, parameter in _fields(content):
            if number == 1:
                name, piece = _piece(parameter)
                pieces.setdefault(name, []).append(piece)
        entries = {name: _value(name, parts) for name, parts in pieces.items() if keep(name)}
    except ValueError as error:
        raise CheckpointError(f"{path}: cut short, damaged or not to be read: {error}. Copy the file again") from error
    if not pieces:
        raise CheckpointError(f"{path}: holds no parameters; is it a MindSpore checkpoint?")
    return entries


def _messages(path: Path) -> memoryview:
    """The content of a file without a checksum behind it."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    if not path.stat().st_size:
        raise CheckpointError(f"{path}: an empty file; copy it again")
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    if content[:4] in _ENCRYPTED:
        raise CheckpointError(f"{path}: encrypted. In MindSpore: load_checkpoint with dec_key, then save_checkpoint")
    if content[:1] not in (b"\x0a", b"\x12"):  # a parameter, or the model type of old releases
        raise CheckpointError(f"{path}: no MindSpore checkpoint: it begins with byte {content[0]:02x}, not 0a")
    return _checked_sum(path, content)


def _checked_sum(path: Path, content: memoryview) -> memoryview:
    for mark, trailer in ((_CRC_MARK, _CRC), (_SUM_MARK, _SUM)):
        body, end = content[: -trailer.size], content[-trailer.size :]
        if len(end) == trailer.size and end[: len(mark)] == mark:
            written, found = trailer.unpack(end)[1], zlib.crc32(body)
            if written != found:
                raise CheckpointError(
                    f"{path}: wrong checksum {found:08x}, written was {written:08x}: copy the file again"
                )
            return body
    return content


def _fields(content: Any) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a message: an integer, or a view of its bytes. Raises ValueError if damaged."""
    if not isinstance(content, memoryview):
        raise ValueError(f"the number {content} stands where bytes are expected")
    place = 0
    while place < len(content):
        key, place = _read_varint(content, place)
        number, wire = key >> 3, key & 7
        if wire not in (0, 1, 2, 5) or not number:
            raise ValueError("no field of a checkpoint begins there")
        size, place = (8 if wire == 1 else 4, place) if wire in (1, 5) else _read_varint(content, place)
        if wire == 0:
            yield number, size
            continue
        if place + size > len(content):
            raise ValueError(f"{size} bytes announced, {len(content) - place} left")
        yield number, content[place : place + size]
        place += size


def _read_varint(content: memoryview, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, and the place behind it."""
    value = 0
    for count, byte in enumerate(content[place : place + 10]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, place + count + 1
    raise ValueError("a number without an end")


def _piece(parameter: Any) -> tuple[str, _Piece]:
    """Name and tensor of a parameter's message. Raises ValueError."""
    fields = dict(_fields(parameter))
    name = _printed(fields.get(1))
    if 2 not in fields:
        raise ValueError(f"{name} holds no tensor")
    parts = list(_fields(fields[2]))
    shape, tensor = tuple(value for number, value in parts if number == 1), dict(parts)
    if not (isinstance(tensor.get(3), memoryview) and all(isinstance(size, int) for size in shape)):
        raise ValueError(f"{name} has no content, or no sizes")
    return name, _Piece(_printed(tensor.get(2)), shape, tensor[3])


def _printed(value: object) -> str:
    """A name or a data type: they stand in messages, which are one line."""
    text = str(value, "utf-8") if isinstance(value, memoryview) and len(value) <= MOST_NAME_BYTES else ""
    if not (text and text.isprintable()):
        raise ValueError(f"a name or a type that is missing or cannot be printed, {text[:40]!r}")
    return text


def _value(name: str, pieces: list[_Piece]) -> Tensor | str:
    kind, shape, content = pieces[0]
    if any(piece[:2] != (kind, shape) for piece in pieces):
        raise ValueError(f"two parameters are called {name}")
    joined: Any = content if len(pieces) == 1 else bytearray().join(piece.content for piece in pieces)
    if kind == _TEXT:
        return bytes(joined).decode(_TEXT_CODE).rstrip("\0")
    dtype = _DTYPES.get(kind.lower())
    if dtype is None:
        raise ValueError(f"{name} has the unknown type {kind[:40]}; known: {', '.join(KINDS)}")
    if shape == (0,) and len(joined) == dtype.itemsize:
        shape = ()  # so releases before 2.0 wrote a scalar
    fits = math.prod(shape) * dtype.itemsize == len(joined)
    if not fits or math.prod(max(1, size) for size in shape) >= _MOST_ELEMENTS or len(shape) > 32:
        raise ValueError(f"{name}, {kind} of {str(list(shape))[:80]}, has {len(joined)} bytes")
    if not len(joined):
        return torch.empty(shape, dtype=dtype)
    if dtype == torch.bool:  # a byte that is neither 0 nor 1 would make an undefined value
        return torch.frombuffer(joined, dtype=torch.uint8).ne(0).view(shape)
    return torch.frombuffer(joined, dtype=dtype).view(shape)


# --- writing ---


def write(
    path: Path, entries: Mapping[str, Tensor | int | float | str], crc: bool = False, summed: bool = False
) -> None:
    """Writes a .ckpt that MindSpore reads; `path` is never half written, an older file there is replaced.

    A Python integer becomes an Int64 scalar, a float a Float32 scalar. `crc`: with MindSpore's checksum at the end.
    `summed`: with our own, which every MindSpore reads over and `read` compares.
    Raises UserError: a data type that MindSpore has not, a full disk.
    """
    checked = {name: _checked(name, value) for name, value in entries.items()}
    if not checked:
        raise UserError(f"{path}: nothing to write")
    total = 0
    with files.replacing(path) as file:
        for name, value in checked.items():
            for part in _parts(name, value):
                file.write(part)
                total = zlib.crc32(part, total)
        if summed:
            file.write(part := _SUM.pack(_SUM_MARK, total))
            total = zlib.crc32(part, total)
        if crc:
            file.write(_CRC.pack(_CRC_MARK, total))


def _checked(name: str, value: Tensor | int | float | str) -> Tensor | str:
    """What stands for a value in the file. Raises UserError for what MindSpore cannot read."""
    if not (name.isprintable() and 0 < len(name.encode()) <= MOST_NAME_BYTES):
        raise UserError(f"{name[:40]!r}: a parameter's name has 1 to {MOST_NAME_BYTES} bytes that can be printed")
    if isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise UserError(f"{name}: {value!r} cannot be written as text: it holds half a letter")
        return value
    tensor = value if isinstance(value, Tensor) else scalar(name, value)
    if tensor.dtype not in _KIND_OF or tensor.layout != torch.strided:
        raise UserError(f"{name}: MindSpore has no {tensor.dtype} ({tensor.layout}); convert it before")
    return tensor


def scalar(name: str, value: object) -> Tensor:
    """A Python number as MindSpore keeps it: Bool, Int64 or Float32 without dimensions. Raises UserError: no number."""
    kinds = {bool: torch.bool, int: torch.int64, float: torch.float32}
    if type(value) not in kinds:
        raise UserError(f"{name}: a {type(value).__name__} cannot be written, only tensors, numbers and text")
    try:
        return torch.tensor(value, dtype=kinds[type(value)])
    except (ValueError, OverflowError, RuntimeError) as error:
        raise UserError(f"{name}: {value} does not fit into 64 bits") from error


def _parts(name: str, value: Tensor | str) -> Iterator[bytes | memoryview]:
    """The bytes of a parameter, large ones in pieces."""
    if isinstance(value, str):
        kind, shape, content = _TEXT, [0], memoryview(value.encode(_TEXT_CODE))
    else:
        flat = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
        kind, shape, content = _KIND_OF[value.dtype], list(value.shape), memoryview(flat.numpy().data)
    for begin in range(0, max(1, len(content)), PIECE_BYTES):
        piece = content[begin : begin + PIECE_BYTES]
        sizes = b"".join(b"\x08" + _varint(size) for size in shape)
        tensor = sizes + _sized(b"\x12", kind.encode()) + b"\x1a" + _varint(len(piece))
        inside = _sized(b"\x0a", name.encode()) + b"\x12" + _varint(len(tensor) + len(piece)) + tensor
        yield b"\x0a" + _varint(len(inside) + len(piece)) + inside
        yield piece


def _sized(key: bytes, content: bytes) -> bytes:
    return key + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """7 bits a byte, lowest first; the highest bit says that more follow."""
    groups = max(1, -(-number.bit_length() // 7))
    return bytes((number >> 7 * group & 0x7F) | (0x80 if group + 1 < groups else 0) for group in range(groups))
