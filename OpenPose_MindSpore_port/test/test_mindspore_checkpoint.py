# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of MindSpore: real files, what is written here, and damaged files."""

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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# of real files; those of `append` have texts beside them, `old_style` is MindSpore 1's
REWRITTEN, READ = ("tiny", "dtypes", "prefixed"), ("append", "crc", "chunked", "old_style")
# 2 x 3 float32 called a
EXAMPLE = bytes.fromhex("0a2c0a016112270802080312") + b"\x07Float32\x1a\x18" + np.arange(6, dtype="<f4").tobytes()


def varied() -> dict[str, torch.Tensor]:
    """A tensor of every type and of odd shapes."""
    torch.manual_seed(0)
    plane = torch.randn(4, 6)
    return {f"t.{kind}": (100 * torch.rand(2, 3)).to(dtype) for kind, dtype in checkpoint.TYPES.items()} | {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(3, 0, dtype=torch.int16),
        "transposed": plane.T,
        "stepped": plane[::2, 1::2],
        "名字": torch.ones(1),
    }


def assert_equal(found: dict, expected: dict) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def sized(key: int, content: bytes) -> bytes:
    return bytes([key, len(content)]) + content


def parameter(name: bytes = b"w", sizes: bytes = b"\x08\x02", kind: bytes = b"Float32", content=bytes(8)) -> bytes:
    tensor = sizes + sized(0x12, kind) + sized(0x1A, content)
    return sized(0x0A, sized(0x0A, name) + sized(0x12, tensor))


def with_crc(content: bytes, crc: int) -> bytes:
    return content + b"crc_num" + crc.to_bytes(10, "big")


@pytest.mark.parametrize("name", REWRITTEN + READ)
def test_real_files_are_read_and_written_byte_for_byte(shared: Path, tmp_path: Path, name: str) -> None:
    folder = golden.folder(shared) / "ckpt"
    tensors = checkpoint.read(folder / f"{name}.ckpt")
    with np.load(folder / "expected.npz") as stored:
        expected = {key.partition("|")[2]: stored[key] for key in stored.files if key.startswith(f"{name}.ckpt|")}
    assert list(tensors) == [entry for entry, value in expected.items() if value.dtype.kind != "U"]
    for entry, value in tensors.items():
        array = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        np.testing.assert_array_equal(array, expected[entry], strict=True, err_msg=entry)
    if name in REWRITTEN:
        checkpoint.write(tmp_path / "again.ckpt", tensors)
        assert (tmp_path / "again.ckpt").read_bytes() == (folder / f"{name}.ckpt").read_bytes()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "new" / "varied.ckpt", varied())
    assert_equal(checkpoint.read(tmp_path / "new" / "varied.ckpt"), varied())


@pytest.mark.parametrize(
    ("tensors", "words"), [({"a": torch.zeros(2, dtype=torch.complex64)}, "complex64"), ({}, "nothing to write")]
)
def test_what_cannot_be_written_leaves_the_older_file(tmp_path: Path, tensors: dict, words: str) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(EXAMPLE)
    with pytest.raises(UserError, match=words):
        checkpoint.write(path, tensors)
    assert path.read_bytes() == EXAMPLE and list(tmp_path.iterdir()) == [path]


def test_the_weights_of_a_training_checkpoint(shared: Path, tmp_path: Path) -> None:
    stored = [entry["name"] for entry in json.loads((golden.folder(shared) / "train_ckpt_keys.json").read_text())]
    weights = [entry["name"] for entry in json.loads((golden.folder(shared) / "params.json").read_text())]
    assert list(checkpoint.network_weights(dict.fromkeys(stored))) == weights
    assert list(checkpoint.network_weights(dict.fromkeys(weights))) == weights
    path = tmp_path / "a.ckpt"
    path.write_bytes(parameter(b"moment1.odd", kind=b"Complex64") + EXAMPLE)
    assert list(checkpoint.read(path, keep=checkpoint.is_weight)) == ["a"]  # the others are not looked at


def test_other_spellings(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(
        parameter(b"old scalar", b"\x08\x00", content=np.float32(2.5).tobytes())
        + parameter(b"old kind", kind=b"uINT8", content=b"\x03\x04")
        + sized(0x12, b"model_type")
        + b"\x18\x07\x25abcd\x29abcdefgh"  # fields of each other wire type
    )
    expected = {"old scalar": torch.tensor(2.5), "old kind": torch.tensor([3, 4], dtype=torch.uint8)}
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
        (parameter() + parameter(), r"\[2\], has 16 bytes"),  # two of one name
        (parameter(b"\xff\xfe"), "utf-8"),
        (parameter(kind=b"Complex64"), "'w' has the unknown type 'Complex64'"),
        (parameter(sizes=b"\x08\x03"), r"'w', Float32 of \[3\], has 8 bytes"),
        (parameter(sizes=b"\x08\x00" + b"\x08\xff\xff\xff\xff\x7f" * 3, content=b""), "overflow"),
        (sized(0x0A, b"\x0a\x01w\x10\x01"), "cut short, damaged"),
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
            assert value.numel() == value.clone().numel()
    except CheckpointError as error:
        assert str(path) in str(error) and "\n" not in str(error)


def test_either_reader_names_the_file_of_the_other(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "ours.ckpt", {"a": torch.ones(2)})
    common.train.checkpoint.save(tmp_path / "torch.ckpt", {"a": torch.ones(2)})
    with pytest.raises(CheckpointError, match="no MindSpore checkpoint"):
        checkpoint.read(tmp_path / "torch.ckpt")
    with pytest.raises(CheckpointError):
        common.train.checkpoint.read(tmp_path / "ours.ckpt")
