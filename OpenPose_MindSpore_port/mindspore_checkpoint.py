# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of MindSpore (.ckpt), read and written without MindSpore and without protobuf.

    entries = read(Path("0-60_5304.ckpt"), wanted=is_weight)      # name -> tensor or text
    write(Path("ours.ckpt"), model.state_dict())

MindSpore 2.10 read what this writes, see ci/results.
"""

import math
import mmap
import os
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from common import files
from common.cli import UserError
from common.train.checkpoint import CheckpointError
from OpenPose_MindSpore_port import mindspore_messages as messages
from OpenPose_MindSpore_port.mindspore_messages import Entry

import torch
from torch import Tensor

_NAMES = "Int8 UInt8 Int16 UInt16 Int32 UInt32 Int64 UInt64 Float16 Float32 Float64 Bool BFloat16"
KINDS: dict[str, torch.dtype] = {name: getattr(torch, name.lower()) for name in _NAMES.split()}
TEXT, PACKED = "str", "Int4"  # MindSpore 2.10 writes a byte for each place of an Int4 tensor: read as int8
PIECE_BYTES = 512 << 20  # a larger tensor is written in pieces of this size
NETWORK = "network."  # MindSpore's training wrapper puts it before the names of the weights
_DTYPES = {kind.lower(): dtype for kind, dtype in KINDS.items()} | {PACKED.lower(): torch.int8}
_KIND_OF = {dtype: kind for kind, dtype in KINDS.items()}
_ENCRYPTED = tuple(struct.pack("<I", 0x7F3A5ED8 + mode) for mode in range(3))  # AES-GCM, AES-CBC, SM4-CBC
_TEXT_CODE, _TEXT_BYTES = "utf-32-le", 4
_CRC_MARK, _CRC = b"crc_num", struct.Struct(">7s6xI")  # ten bytes of number, of which a CRC-32 needs four
# Our own sum is a field that no MindSpore knows (number 100003, 20 bytes), which all parsers of protocol buffers skip;
# MindSpore's trailer is no field: a release that does not cut it off cannot parse the file.
_SUM_MARK, _SUM = bytes.fromhex("9aea3014") + b"pose zoo, CRC-32", struct.Struct(">20sI")
_READ_BYTES = 16 << 20
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


def read(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor | str]:
    """The parameters of a .ckpt for which `wanted(name)` holds, in the file's order; scalars have no dimensions.

    Tensors are private views of the file: no memory until they are looked at, and nothing that is written
    into them reaches the file. Replace such a file by renaming, as `write` does: one that is cut short in place takes
    its tensors with it, and the process.
    Raises CheckpointError, naming the file: missing, cut short, damaged, wrong checksum, encrypted, or no MindSpore
    checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        content = _mapped(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    entries = [entry for entry in messages.index(path, content) if wanted(entry.name)]
    return {entry.name: _value(path, content, entry) for entry in entries}


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
    with files.replacing(path) as file:
        total = _write_entries(file, checked)
        if summed:
            part = _SUM.pack(_SUM_MARK, total)
            file.write(part)
            total = zlib.crc32(part, total)
        if crc:
            file.write(_CRC.pack(_CRC_MARK, total))


def _mapped(path: Path) -> memoryview:
    """The messages of a file, without a checksum behind them."""
    with path.open("rb") as file:
        _check_is_checkpoint(path, file.read(len(_ENCRYPTED[0])))
        end = _checked_end(path, file, os.fstat(file.fileno()).st_size)
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))[:end]


def _check_is_checkpoint(path: Path, head: bytes) -> None:
    if not head:
        raise CheckpointError(f"{path}: an empty file; copy it again")
    if head in _ENCRYPTED:
        raise CheckpointError(f"{path}: encrypted. In MindSpore: load_checkpoint with dec_key, then save_checkpoint")
    if head[:1] not in (b"\x0a", b"\x12"):  # a parameter, or the model type of old releases
        raise CheckpointError(f"{path}: no MindSpore checkpoint: it begins with byte {head[:1].hex()}, not 0a")


def _checked_end(path: Path, file: BinaryIO, size: int) -> int:
    """Where the messages end; a checksum behind them must be that of the content."""
    for mark, trailer in ((_CRC_MARK, _CRC), (_SUM_MARK, _SUM)):
        end = max(0, size - trailer.size)
        file.seek(end)
        found = file.read(trailer.size)
        if len(found) == trailer.size and found.startswith(mark):
            _check_sum(path, trailer.unpack(found)[1], _crc_of(file, end))
            return end
    return size


def _check_sum(path: Path, written: int, found: int) -> None:
    if written != found:
        raise CheckpointError(f"{path}: wrong checksum {found:08x}, written was {written:08x}: copy the file again")


def _crc_of(file: BinaryIO, end: int) -> int:
    file.seek(0)
    crc, buffer = 0, memoryview(bytearray(min(_READ_BYTES, end)))
    while end > 0 and (count := file.readinto(buffer[: min(_READ_BYTES, end)])):  # type: ignore[attr-defined]
        crc = zlib.crc32(buffer[:count], crc)
        end -= count
    return crc


def _value(path: Path, content: memoryview, entry: Entry) -> Tensor | str:
    if entry.kind == TEXT:
        return _text(path, content, entry)
    dtype = _DTYPES.get(entry.kind.lower())
    if entry.kind == messages.MAP:
        raise CheckpointError(f"{path}: {entry.name} is an embedding table, which is not read; leave it out")
    if dtype is None:
        raise CheckpointError(f"{path}: {entry.name} has the unknown type {entry.kind[:40]}; known: {', '.join(KINDS)}")
    shape = _shape(path, entry, dtype.itemsize)
    if not entry.num_bytes:
        return torch.empty(shape, dtype=dtype)
    if dtype == torch.bool:  # a byte that is neither 0 nor 1 would make an undefined value
        return _flat(content, entry, torch.uint8).ne(0).view(shape)
    return _flat(content, entry, dtype).view(shape)


def _shape(path: Path, entry: Entry, itemsize: int) -> tuple[int, ...]:
    """The sizes of a tensor, compared with the bytes there are; releases before 2.0 wrote [0] for a scalar."""
    shape = () if entry.dims == (0,) and entry.num_bytes == itemsize else entry.dims
    fits = math.prod(shape) * itemsize == entry.num_bytes and math.prod(max(1, dim) for dim in shape) < _MOST_ELEMENTS
    if not fits:
        raise CheckpointError(
            f"{path}: cut short or damaged at byte {entry.pieces[0][0]}: {entry.name}, {entry.kind} of "
            f"{list(shape)}, has {entry.num_bytes} bytes. Copy the file again"
        )
    return shape


def _flat(content: memoryview, entry: Entry, dtype: torch.dtype) -> Tensor:
    """The content as one row: a view where it is in one piece; a piece may end within an element."""
    if len(entry.pieces) == 1:
        begin, count = entry.pieces[0][0], entry.num_bytes // dtype.itemsize
        return torch.frombuffer(content, dtype=dtype, count=count, offset=begin)
    whole, place = torch.empty(entry.num_bytes, dtype=torch.uint8), 0
    for begin, end in entry.pieces:
        if end > begin:
            whole[place : place + end - begin] = torch.frombuffer(content[begin:end], dtype=torch.uint8)
            place += end - begin
    return whole.view(dtype)


def _text(path: Path, content: memoryview, entry: Entry) -> str:
    code = b"".join(content[begin:end] for begin, end in entry.pieces)
    try:
        return code.decode(_TEXT_CODE).rstrip("\0")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: {entry.name} is no text ({error.reason}): copy the file again") from error


def _checked(name: str, value: Tensor | int | float | str) -> Tensor | str:
    """What stands for a value in the file. Raises UserError for what MindSpore cannot read."""
    if not 0 < len(_code(name, "utf-8")) <= messages.MOST_NAME_BYTES or not name.isprintable():
        most = messages.MOST_NAME_BYTES
        raise UserError(f"{name[:40]!r}: a parameter's name has 1 to {most} bytes, all of which can be printed")
    if isinstance(value, str):
        _code(value, _TEXT_CODE)
        return value
    tensor = value if isinstance(value, Tensor) else scalar(name, value)
    if tensor.dtype not in _KIND_OF or tensor.layout != torch.strided:
        raise UserError(f"{name}: MindSpore has no {tensor.dtype} ({tensor.layout}); convert it before")
    return tensor


def _code(text: str, code: str) -> bytes:
    try:
        return text.encode(code)
    except UnicodeEncodeError as error:
        raise UserError(f"{text!r} cannot be written as text: {error.reason}") from error


def scalar(name: str, value: object) -> Tensor:
    """A Python number as MindSpore keeps it: Bool, Int64 or Float32 without dimensions. Raises UserError: no number."""
    kinds = {bool: torch.bool, int: torch.int64, float: torch.float32}
    if type(value) not in kinds:
        raise UserError(f"{name}: a {type(value).__name__} cannot be written, only tensors, numbers and text")
    try:
        return torch.tensor(value, dtype=kinds[type(value)])
    except (ValueError, OverflowError, RuntimeError) as error:
        raise UserError(f"{name}: {value} does not fit into 64 bits") from error


def _write_entries(file: BinaryIO, entries: Mapping[str, Tensor | str]) -> int:
    """Writes the messages; their CRC-32."""
    total = 0
    for name, value in entries.items():
        kind, dims, content = _encoded(value)
        for begin in range(0, max(1, len(content)), PIECE_BYTES):
            piece = content[begin : begin + PIECE_BYTES]
            for part in (_head_of(name, kind, dims, len(piece)), piece):
                file.write(part)
                total = zlib.crc32(part, total)
    return total


def _encoded(value: Tensor | str) -> tuple[str, list[int], memoryview]:
    """Type, shape and bytes as MindSpore writes them."""
    if isinstance(value, str):
        return TEXT, [0], memoryview(value.encode(_TEXT_CODE))
    flat = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
    return _KIND_OF[value.dtype], list(value.shape), memoryview(flat.numpy().data)


def _head_of(name: str, kind: str, dims: list[int], content_bytes: int) -> bytes:
    """What stands before the content of a piece."""
    sizes = b"".join(b"\x08" + _varint(dim) for dim in dims)
    tensor = sizes + _sized(b"\x12", kind.encode()) + b"\x1a" + _varint(content_bytes)
    value = _sized(b"\x0a", name.encode()) + b"\x12" + _varint(len(tensor) + content_bytes) + tensor
    return b"\x0a" + _varint(len(value) + content_bytes) + value


def _sized(key: bytes, content: bytes) -> bytes:
    return key + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """7 bits a byte, lowest first; the highest bit says that more follow."""
    groups = max(1, -(-number.bit_length() // 7))
    return bytes((number >> 7 * group & 0x7F) | (0x80 if group + 1 < groups else 0) for group in range(groups))
