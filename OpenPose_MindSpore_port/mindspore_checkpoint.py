# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of MindSpore (.ckpt), read and written without MindSpore and without protobuf; those of a training.

    tensors = read(Path("0-60_5304.ckpt"), keep=is_weight)
    write(Path("ours.ckpt"), model.state_dict())

A file is a message of protocol buffers whose field 1 is repeated for every parameter, or for every piece of one of more
than 512 MiB: `{name = 1, tensor = 2}`, with `tensor {dimension = 1, type = 2, content = 3}`. Other fields are skipped.
"""

import math
import mmap
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import common.distributed
from common import files
from common.cli import UserError
from common.train.checkpoint import CheckpointError
from common.train.loop import Losses
from common.train.state import TrainState
from OpenPose_MindSpore_port.config import Config

import torch
from torch import Tensor

NETWORK = "network."  # MindSpore's training wrapper puts it before the names of the weights
_TYPES = "Int8 UInt8 Int16 UInt16 Int32 UInt32 Int64 UInt64 Float16 Float32 Float64 Bool BFloat16"
TYPES: dict[str, torch.dtype] = {name: getattr(torch, name.lower()) for name in _TYPES.split()}
_DTYPES = {name.lower(): dtype for name, dtype in TYPES.items()}  # MindSpore 1 wrote `Uint8`
_ENCRYPTED = tuple(struct.pack("<I", 0x7F3A5ED8 + mode) for mode in range(3))  # AES-GCM, AES-CBC, SM4-CBC
_CRC = struct.Struct(">7s6xI")  # `crc_num`, and ten bytes of number, of which a CRC-32 needs four
_TRAINING_STATE = re.compile(
    r"moment\w*\.|(global_step|epoch_num|step_num|beta[12]_power|momentum|weight_decay|scale_sense|loss_scale"
    r"|learning_rate(_group_\d+)?)$"
)


def is_weight(name: str) -> bool:
    """Whether a name of a training checkpoint is not the optimiser's: no moment, step or learning rate."""
    return not _TRAINING_STATE.match(name)


def network_weights(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of a training checkpoint by the network's own names, without `network.` and the optimiser's state."""
    return {name.removeprefix(NETWORK): value for name, value in tensors.items() if is_weight(name)}


# --- reading ---


def read(path: Path, keep: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
    """The tensors of a .ckpt for which `keep(name)` holds, in the file's order; scalars have no dimensions.

    Texts, which MindSpore may add, are left out. Raises CheckpointError, naming the file: missing, cut
    short, damaged, wrong checksum, encrypted, or no MindSpore checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    pieces = dict[str, list[memoryview]]()
    try:
        for number, parameter in _fields(_content(path)):
            if number == 1:
                fields = dict(_fields(parameter))
                pieces.setdefault(str(fields.get(1, b""), "utf-8"), []).append(fields.get(2, b""))
        if not pieces:
            raise ValueError("it holds no parameters")
        tensors = {name: _tensor(name, parts) for name, parts in pieces.items() if keep(name)}
    except (ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: cut short, damaged or no MindSpore checkpoint: {error}") from error
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _content(path: Path) -> memoryview:
    """The content of a file without the checksum that MindSpore may have appended."""
    with path.open("rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))  # ValueError if it is empty
    if content[:4] in _ENCRYPTED:
        raise CheckpointError(f"{path}: encrypted. In MindSpore: load_checkpoint with dec_key, then save_checkpoint")
    body, end = content[: -_CRC.size], content[-_CRC.size :]
    if end[:7] != b"crc_num":
        return content
    if (found := zlib.crc32(body)) != (written := _CRC.unpack(end)[1]):
        raise CheckpointError(f"{path}: wrong checksum {found:08x}, written was {written:08x}: copy the file again")
    return body


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a message: an integer, or a view of its bytes. Raises ValueError if damaged."""
    place = 0
    while place < len(message):
        key, place = _read_varint(message, place)
        number, wire = key >> 3, key & 7
        if wire not in (0, 1, 2, 5) or not number:
            raise ValueError(f"no field begins at byte {place} of {len(message)}")
        size, place = (8 if wire == 1 else 4, place) if wire in (1, 5) else _read_varint(message, place)
        if wire == 0:
            yield number, size
            continue
        if place + size > len(message):
            raise ValueError(f"{size} bytes announced, {len(message) - place} left")
        yield number, message[place : place + size]
        place += size


def _read_varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, and the position after it."""
    value = 0
    for count, byte in enumerate(message[place : place + 10]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, place + count + 1
    raise ValueError("a number without an end")


def _tensor(name: str, pieces: list[memoryview]) -> Tensor | None:
    """A parameter from its pieces, each with the type and the shape of the whole; None for a text."""
    parts = [list(_fields(piece)) for piece in pieces]
    shape, kind = [value for number, value in parts[0] if number == 1], str(dict(parts[0]).get(2, b""), "utf-8")
    content = bytearray().join(dict(part).get(3, b"") for part in parts)
    if kind == "str":
        return None
    if (dtype := _DTYPES.get(kind.lower())) is None:
        raise ValueError(f"{name!r} has the unknown type {kind[:40]!r}; known: {_TYPES}")
    if shape == [0] and len(content) == dtype.itemsize:
        shape = []  # so releases before 2.0 wrote a scalar
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{name!r}, {kind} of {str(shape)[:80]}, has {len(content)} bytes")
    return torch.frombuffer(content, dtype=dtype).view(shape) if content else torch.empty(shape, dtype=dtype)


# --- writing ---


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a .ckpt that MindSpore reads; `path` is never half written, an older file there is replaced.

    Raises UserError: nothing to write, a data type that MindSpore lacks, a full disk.
    """
    if not tensors:
        raise UserError(f"{path}: nothing to write")
    with files.replacing(path) as file:
        for name, tensor in tensors.items():
            file.write(_parameter(name, tensor))


def _parameter(name: str, tensor: Tensor) -> bytes:
    kind = next((kind for kind, dtype in TYPES.items() if dtype == tensor.dtype), "")
    if not kind:
        raise UserError(f"{name}: MindSpore has no {tensor.dtype}; convert it before")
    content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    value = b"".join(b"\x08" + _varint(size) for size in tensor.shape) + _field(2, kind.encode()) + _field(3, content)
    return _field(1, _field(1, name.encode()) + _field(2, value))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """7 bits a byte, lowest first; the highest bit marks that more follow."""
    groups = max(1, -(-number.bit_length() // 7))
    return bytes((number >> 7 * group & 0x7F) | (0x80 if group + 1 < groups else 0) for group in range(groups))


# --- of a training ---


class TrainingCheckpoints:
    """`<folder>/<time>/<rank>-<epoch>_<step>.ckpt`, as the published training names them: weights, MindSpore's names.

    Rank 0 writes one every `ckpt_interval` steps and one at the end; the newest `keep_checkpoint_max` stay. What else a
    resumed run needs is in last.pth, see common.train.state.
    """

    def __init__(self, state: TrainState, config: Config) -> None:
        """Raises OSError where the folder cannot be made: the first checkpoint is hours away."""
        root = Path(config.output_dir) / config.save_model_path
        self.folder = root / time.strftime("%Y-%m-%d_time_%H_%M_%S", time.localtime(state.began))
        self._state, self._interval = state, config.ckpt_interval
        self._keep = config.keep_checkpoint_max if common.distributed.is_main() else 0
        if self._keep:
            root.mkdir(parents=True, exist_ok=True)
            files.remove_unfinished(self.folder)

    def step(self, number: int, losses: Losses) -> None:
        """Called after step `number`, counted from 0; writes nothing if its losses are not finite."""
        done = number + 1
        if self._keep and done % self._interval == 0 and bool(torch.stack([*losses.values()]).isfinite().all()):
            self._write(done)

    def finish(self) -> None:
        """Called after the training: keeps its last steps, too, even if an earlier run was killed there."""
        done = self._state.epoch * self._state.plan.steps_per_epoch
        if self._keep and done and not self._path(done).is_file():
            self._write(done)

    def _path(self, done: int) -> Path:
        return self.folder / f"0-{-(-done // self._state.plan.steps_per_epoch)}_{done}.ckpt"

    def _write(self, done: int) -> None:
        weights = {NETWORK + name: tensor for name, tensor in self._state.model.state_dict().items()}
        write(self._path(done), weights)
        steps = sorted(int(path.stem.rpartition("_")[2]) for path in self.folder.glob("0-*_*.ckpt"))
        for old in steps[: -self._keep]:
            self._path(old).unlink(missing_ok=True)
