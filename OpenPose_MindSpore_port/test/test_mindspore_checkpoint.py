# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of MindSpore: real files, what we write, and files that are damaged in every way we could think of."""

import json
import zlib
from pathlib import Path

import common.train.checkpoint
from common.cli import UserError
from common.train.checkpoint import CheckpointError
from OpenPose_MindSpore_port import mindspore_checkpoint as checkpoint
from OpenPose_MindSpore_port.test import golden

import numpy as np
import pytest
import torch
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PLAIN = ("tiny", "dtypes", "append", "crc", "chunked", "prefixed", "old_style")
# 2 x 3 float32 called a
EXAMPLE = bytes.fromhex("0a2c0a016112270802080312") + b"\x07Float32\x1a\x18" + np.arange(6, dtype="<f4").tobytes()
SMALL = {"network.weight": torch.arange(24.0).view(2, 12), "global_step": torch.tensor([7]), "text": "hello-世界"}


def varied() -> dict:
    """An entry of every kind."""
    torch.manual_seed(0)
    entries = {f"t.{kind}": (100 * torch.rand(2, 3)).to(dtype) for kind, dtype in checkpoint.KINDS.items()}
    plane = torch.randn(4, 6)
    return entries | {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0),
        "empty.plane": torch.empty(3, 0, dtype=torch.int16),
        "transposed": plane.T,
        "stepped": plane[::2, 1::2],
        "名字": torch.ones(1),
        "text": "hello-世界 🙂",
        "no text": "",
    }


def assert_equal(found: dict, expected: dict) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert isinstance(found[name], type(value)), name
        if isinstance(value, str):
            assert found[name] == value
        else:
            assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


sized = checkpoint._sized


def tensor_message(sizes: bytes = b"\x08\x02", kind: bytes = b"Float32", content: bytes = bytes(8)) -> bytes:
    return sizes + sized(b"\x12", kind) + sized(b"\x1a", content)


def parameter(name: bytes = b"w", tensor: bytes | None = None) -> bytes:
    tensor = tensor_message() if tensor is None else tensor
    return sized(b"\x0a", sized(b"\x0a", name) + sized(b"\x12", tensor))


def with_crc(content: bytes, crc: int) -> bytes:
    return content + b"crc_num" + crc.to_bytes(10, "big")


@pytest.mark.parametrize("name", PLAIN)
def test_real_files_are_read_and_written_byte_for_byte(shared, tmp_path, name, monkeypatch) -> None:
    folder = golden.folder(shared) / "ckpt"
    entries = checkpoint.read(folder / f"{name}.ckpt")
    with np.load(folder / "expected.npz") as stored:
        expected = {key.partition("|")[2]: stored[key] for key in stored.files if key.startswith(f"{name}.ckpt|")}
    assert list(entries) == list(expected)
    for entry, value in entries.items():
        if isinstance(value, str):
            assert value == str(expected[entry])
        else:
            array = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
            np.testing.assert_array_equal(array, expected[entry], strict=True, err_msg=entry)
    if name == "old_style":  # the layout of MindSpore 1.x
        return
    monkeypatch.setattr(checkpoint, "PIECE_BYTES", 1024 if name == "chunked" else checkpoint.PIECE_BYTES)
    checkpoint.write(tmp_path / "again.ckpt", entries, crc=name == "crc")
    assert (tmp_path / "again.ckpt").read_bytes() == (folder / f"{name}.ckpt").read_bytes()


@pytest.mark.parametrize("sums", [{}, {"crc": True}, {"summed": True}, {"summed": True, "crc": True}])
@pytest.mark.parametrize("piece_bytes", [checkpoint.PIECE_BYTES, 7])
def test_what_is_written_is_read(tmp_path: Path, sums: dict, piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PIECE_BYTES", piece_bytes)  # 7 cuts elements in two
    checkpoint.write(tmp_path / "new" / "varied.ckpt", varied(), **sums)
    assert_equal(checkpoint.read(tmp_path / "new" / "varied.ckpt"), varied())


def test_numbers_are_scalars_and_tensors_are_private(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(EXAMPLE)
    tensor = checkpoint.read(path)["a"]
    checkpoint.write(path, {"epoch": 3, "lr": 0.125, "done": True})  # replaces the file, not what was read of it
    assert torch.equal(tensor, torch.arange(6.0).view(2, 3))
    found = checkpoint.read(path)
    assert_equal(found, {"epoch": torch.tensor(3), "lr": torch.tensor(0.125), "done": torch.tensor(True)})
    found["epoch"].zero_()
    assert checkpoint.read(path)["epoch"] == 3


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "complex64"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "sparse"),
        ({"a": 1 << 70}, "64 bits"),
        ({"a": [1.0]}, "list"),
        ({"a": "\ud800"}, "text"),
        ({"": 1}, "name"),
        ({"n" * (checkpoint.MOST_NAME_BYTES + 1): 1}, "name"),
        ({"two\nlines": 1}, "name"),
        ({}, "nothing to write"),
    ],
)
def test_what_cannot_be_written_leaves_the_older_file(tmp_path: Path, entries: dict, words: str) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(EXAMPLE)
    with pytest.raises(UserError, match=words):
        checkpoint.write(path, entries)
    assert path.read_bytes() == EXAMPLE and list(tmp_path.iterdir()) == [path]


def test_the_weights_of_a_training_checkpoint(shared: Path, tmp_path: Path) -> None:
    stored = [entry["name"] for entry in json.loads((golden.folder(shared) / "train_ckpt_keys.json").read_text())]
    weights = [entry["name"] for entry in json.loads((golden.folder(shared) / "params.json").read_text())]
    assert list(checkpoint.network_weights(dict.fromkeys(stored))) == weights
    assert list(checkpoint.network_weights(dict.fromkeys(weights))) == weights
    path = tmp_path / "a.ckpt"
    path.write_bytes(parameter(b"moment1.odd", tensor_message(kind=b"Complex64")) + EXAMPLE)
    assert list(checkpoint.read(path, keep=checkpoint.is_weight)) == ["a"]  # the others are not looked at


def test_other_spellings(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(
        parameter(b"old scalar", tensor_message(b"\x08\x00", content=np.float32(2.5).tobytes()))
        + parameter(b"old kind", tensor_message(kind=b"uINT8", content=b"\x03\x04"))
        + parameter(b"odd truth", tensor_message(kind=b"Bool", content=b"\x00\x02"))
        + parameter(b"packed", tensor_message(kind=b"Int4", content=b"\x01\xfe"))
        + sized(b"\x12", b"model_type")
        + b"\x18\x07\x25abcd\x29abcdefgh"  # fields of each other wire type
    )
    expected = {
        "old scalar": torch.tensor(2.5),
        "old kind": torch.tensor([3, 4], dtype=torch.uint8),
        "odd truth": torch.tensor([False, True]),
        "packed": torch.tensor([1, -2], dtype=torch.int8),
    }
    assert_equal(checkpoint.read(path), expected)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"PK\x03\x04" + bytes(99), "no MindSpore checkpoint"),
        (b"\x12\x03CNN", "no parameters"),
        (b"\xd8\x5e\x3a\x7f" + bytes(100), "encrypted. In MindSpore: load_checkpoint with dec_key"),
        (EXAMPLE[:-1], "44 bytes announced, 43 left"),
        (EXAMPLE + b"\x0a", "a number without an end"),
        (EXAMPLE + bytes(9), "no field"),
        (parameter() + parameter(), r"\[2\], has 16 bytes"),
        (parameter() + parameter(tensor=tensor_message(b"\x08\x04")), "two parameters"),
        (b"\x0a\x00", "name"),
        (parameter(b"\xff\xfe"), "utf-8"),
        (parameter(b"n" * 5000), "name"),
        (parameter(b"first\nline"), r"cannot be printed, 'first\\nline'"),
        (parameter(tensor=b""), "no content"),
        (parameter(tensor=tensor_message(kind=b"Complex64")), "w has the unknown type Complex64"),
        (parameter(tensor=tensor_message(b"\x08\x03")), r"w, Float32 of \[3\], has 8 bytes"),
        (parameter(tensor=tensor_message(b"\x08\x01" * 99)), "has 8 bytes"),
        (parameter(tensor=tensor_message(b"\x0a\x02\x02\x01")), "no sizes"),
        (parameter(tensor=tensor_message(b"\x08\x00" + b"\x08\xff\xff\xff\xff\x7f" * 3, content=b"")), "0 bytes"),
        (parameter(tensor=tensor_message(b"\x08\x00", b"str", b"\xff" * 8)), "utf-32"),
        (sized(b"\x0a", b"\x0a\x01w" + sized(b"\x1a", b"")), "holds no tensor"),
        (sized(b"\x0a", b"\x08\x01\x12\x00"), "name"),
        (sized(b"\x0a", b"\x0a\x01w\x10\x01"), "the number 1 stands"),
        (with_crc(EXAMPLE, 1), f"wrong checksum {zlib.crc32(EXAMPLE):08x}, written was 00000001"),
        (with_crc(EXAMPLE, zlib.crc32(EXAMPLE))[:-1], "cut short"),
    ],
)
def test_damaged_files(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "damaged.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        checkpoint.read(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_cut_at_any_byte(tmp_path: Path) -> None:
    """A cut between two parameters looks like a shorter file; every other one is noticed."""
    path, cut, shorter = tmp_path / "whole.ckpt", tmp_path / "cut.ckpt", 0
    checkpoint.write(path, SMALL)
    for end in range(path.stat().st_size):
        cut.write_bytes(path.read_bytes()[:end])
        try:
            shorter += len(checkpoint.read(cut)) < 3
        except CheckpointError as error:
            assert str(cut) in str(error)
    assert shorter == 2


@pytest.mark.parametrize("sums", [{"crc": True}, {"summed": True}])
def test_every_flipped_bit_is_found(tmp_path: Path, sums: dict[str, bool]) -> None:
    """The bits of the sum's own mark aside: without it the content is as good as that of a file without a sum."""
    bare, whole, damaged = (tmp_path / f"{name}.ckpt" for name in ("bare", "whole", "damaged"))
    checkpoint.write(bare, SMALL)
    checkpoint.write(whole, SMALL, **sums)
    content, end = whole.read_bytes(), bare.stat().st_size
    for bit in range(8 * len(content)):
        place = bit // 8
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit % 8]) + content[place + 1 :])
        try:
            found = checkpoint.read(damaged)
        except CheckpointError as error:
            assert str(damaged) in str(error)
        else:
            assert place >= end
            assert_equal(found, SMALL)


def test_a_parser_of_protocol_buffers_reads_over_our_sum(tmp_path: Path) -> None:
    """As code of protoc that knows this part of MindSpore's format: so old releases of MindSpore read."""
    file = FileDescriptorProto(name="checkpoint.proto", package="test", syntax="proto2")
    kind = FieldDescriptorProto
    value, whole = file.message_type.add(name="Value"), file.message_type.add(name="Checkpoint")
    value.field.add(name="tag", number=1, label=kind.LABEL_REQUIRED, type=kind.TYPE_STRING)
    repeated = whole.field.add(name="value", number=1, label=kind.LABEL_REPEATED, type=kind.TYPE_MESSAGE)
    repeated.type_name = ".test.Value"
    pool = DescriptorPool()
    pool.Add(file)
    parse = message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Checkpoint")).FromString
    checkpoint.write(tmp_path / "summed.ckpt", SMALL, summed=True)
    assert [value.tag for value in parse((tmp_path / "summed.ckpt").read_bytes()).value] == list(SMALL)


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "repeat"]),
        st.integers(0, 1 << 16),
        st.one_of(st.binary(min_size=1, max_size=6), st.sampled_from([b"\xff" * 9 + b"\x01", b"\x80" * 9, b"\x00"])),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_any_change_ends_in_tensors_or_in_one_line(tmp_path: Path, edits: list[tuple[str, int, bytes]]) -> None:
    whole, path = tmp_path / "whole.ckpt", tmp_path / "edited.ckpt"
    if not whole.is_file():
        checkpoint.write(whole, varied())
    content = whole.read_bytes()
    for how, place, piece in edits:
        place %= len(content) + 1
        end = min(len(content), place + len(piece) * (1 if how == "set" else 8))
        middle = {"set": piece, "insert": piece, "delete": b"", "repeat": 2 * content[place:end]}[how]
        content = content[:place] + middle + content[place if how == "insert" else end :]
    path.write_bytes(content)
    try:
        for value in checkpoint.read(path).values():
            assert isinstance(value, str) or value.numel() == value.clone().numel()
    except CheckpointError as error:
        assert str(path) in str(error) and "\n" not in str(error)


def test_the_format_is_none_of_torch(tmp_path: Path) -> None:
    """Either reader names the other's file instead of crashing."""
    checkpoint.write(tmp_path / "ours.ckpt", SMALL)
    common.train.checkpoint.save(tmp_path / "torch.ckpt", {"a": torch.ones(2)})
    with pytest.raises(CheckpointError, match="no MindSpore checkpoint"):
        checkpoint.read(tmp_path / "torch.ckpt")
    with pytest.raises(CheckpointError):
        common.train.checkpoint.read(tmp_path / "ours.ckpt")
