# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of MindSpore: real files, what we write, and files that are damaged in every way we could think of."""

import json
import zlib
from pathlib import Path

import common.train.checkpoint
from common.cli import UserError
from common.train.checkpoint import CheckpointError
from OpenPose_MindSpore_port import mindspore_checkpoint as checkpoint
from OpenPose_MindSpore_port import mindspore_messages
from OpenPose_MindSpore_port.mindspore_messages import MOST_NAME_BYTES

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PLAIN = ("tiny", "dtypes", "append", "crc", "chunked", "prefixed", "old_style")
REWRITTEN = PLAIN[:-1]  # old_style has the layout of MindSpore 1.x
# 2 x 3 float32 called a
EXAMPLE = bytes.fromhex("0a2c0a016112270802080312") + b"\x07Float32\x1a\x18" + np.arange(6, dtype="<f4").tobytes()


def golden_folder(shared: Path) -> Path:
    return shared / "golden" / "openpose_mindspore" / "ckpt"


def check_golden(shared: Path, name: str) -> None:
    """Reads a golden file and compares every value, type and shape, and the order of the names."""
    folder = golden_folder(shared)
    entries = checkpoint.read(folder / f"{name}.ckpt")
    with np.load(folder / "expected.npz") as stored:
        expected = {key.partition("|")[2]: stored[key] for key in stored.files if key.startswith(f"{name}.ckpt|")}
    assert list(entries) == list(expected)
    for entry, value in entries.items():
        if isinstance(value, str):
            assert value == str(expected[entry])
            continue
        array = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        assert array.dtype == expected[entry].dtype
        np.testing.assert_array_equal(array, expected[entry], strict=True, err_msg=entry)


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


def tensor_message(dims: bytes = b"\x08\x02", kind: bytes = b"Float32", content: bytes = bytes(8)) -> bytes:
    return dims + sized(b"\x12", kind) + sized(b"\x1a", content)


def sized(key: bytes, content: bytes) -> bytes:
    return checkpoint._sized(key, content)


def parameter(name: bytes = b"w", tensor: bytes | None = None) -> bytes:
    tensor = tensor_message() if tensor is None else tensor
    return sized(b"\x0a", sized(b"\x0a", name) + sized(b"\x12", tensor))


def with_crc(content: bytes, crc: int) -> bytes:
    return content + b"crc_num" + crc.to_bytes(10, "big")


@pytest.mark.parametrize("name", PLAIN)
def test_real_files(shared: Path, name: str) -> None:
    check_golden(shared, name)


@pytest.mark.parametrize("name", REWRITTEN)
def test_real_files_are_written_byte_for_byte(
    shared: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "chunked":
        monkeypatch.setattr(checkpoint, "PIECE_BYTES", 1024)
    entries = checkpoint.read(golden_folder(shared) / f"{name}.ckpt")
    checkpoint.write(tmp_path / "again.ckpt", entries, crc=name == "crc")
    assert (tmp_path / "again.ckpt").read_bytes() == (golden_folder(shared) / f"{name}.ckpt").read_bytes()


def test_the_bytes_of_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint.write(path, {"a": torch.arange(6.0).view(2, 3)})
    assert path.read_bytes() == EXAMPLE
    assert_equal(checkpoint.read(path), {"a": torch.arange(6.0).view(2, 3)})


@pytest.mark.parametrize("crc", [False, True])
@pytest.mark.parametrize("piece_bytes", [checkpoint.PIECE_BYTES, 7])
def test_what_is_written_is_read(tmp_path: Path, crc: bool, piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PIECE_BYTES", piece_bytes)  # 7 cuts elements in two
    checkpoint.write(tmp_path / "varied.ckpt", varied(), crc)
    assert_equal(checkpoint.read(tmp_path / "varied.ckpt"), varied())


def test_python_numbers_become_scalars(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "a.ckpt", {"epoch": 3, "lr": 0.125, "done": True})
    expected = {"epoch": torch.tensor(3), "lr": torch.tensor(0.125), "done": torch.tensor(True)}
    assert_equal(checkpoint.read(tmp_path / "a.ckpt"), expected)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(2, dtype=torch.complex64), "complex64"),
        (torch.zeros(2, 2).to_sparse(), "sparse"),
        (1 << 70, "64 bits"),
        ([1.0], "list"),
        ("\ud800", "text"),
    ],
)
def test_what_cannot_be_written_leaves_the_older_file(tmp_path: Path, value: object, words: str) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(EXAMPLE)
    with pytest.raises(UserError, match=words):
        checkpoint.write(path, {"fine": torch.ones(1), "odd": value})
    assert path.read_bytes() == EXAMPLE and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["", "n" * (MOST_NAME_BYTES + 1), "two\nlines", "\x1b[2J"])
def test_names_that_cannot_be_read_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="name"):
        checkpoint.write(tmp_path / "a.ckpt", {name: torch.ones(1)})
    with pytest.raises(UserError, match="nothing to write"):
        checkpoint.write(tmp_path / "a.ckpt", {})


def test_a_file_may_be_written_again_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.ckpt"
    for value in (1, 2):
        checkpoint.write(path, {"a": value})
    assert checkpoint.read(path)["a"] == 2
    with pytest.raises(UserError, match="cannot write"):
        checkpoint.write(path / "below a file.ckpt", {"a": 1})


def test_tensors_are_private(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(EXAMPLE)
    tensor = checkpoint.read(path)["a"]
    checkpoint.write(path, {"a": 0})  # replaces the file, not what was read of it
    assert torch.equal(tensor, torch.arange(6.0).view(2, 3))
    tensor.zero_()
    assert checkpoint.read(path)["a"] == 0 and not tensor.any()


def test_names_that_are_not_wanted_are_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(parameter(b"moment1.odd", tensor_message(kind=b"Complex64")) + EXAMPLE)
    assert list(checkpoint.read(path, wanted=checkpoint.is_weight)) == ["a"]
    with pytest.raises(CheckpointError, match="Complex64"):
        checkpoint.read(path)


def test_the_weights_of_a_training_checkpoint(shared: Path) -> None:
    folder = shared / "golden" / "openpose_mindspore"
    stored = [entry["name"] for entry in json.loads((folder / "train_ckpt_keys.json").read_text())]
    weights = [entry["name"] for entry in json.loads((folder / "params.json").read_text())]
    assert list(checkpoint.network_weights(dict.fromkeys(stored))) == weights
    assert list(checkpoint.network_weights(dict.fromkeys(weights))) == weights


def test_other_spellings(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(
        parameter(b"old scalar", tensor_message(b"\x08\x00", content=np.float32(2.5).tobytes()))
        + parameter(b"old kind", tensor_message(kind=b"uINT8", content=b"\x03\x04"))
        + parameter(b"packed sizes", tensor_message(b"\x0a\x02\x02\x01"))
        + parameter(b"odd truth", tensor_message(kind=b"Bool", content=b"\x00\x02"))
        + parameter(b"packed", tensor_message(kind=b"Int4", content=b"\x01\xfe"))
        + sized(b"\x12", b"model_type")
        + b"\x18\x07\x25abcd\x29abcdefgh"  # fields of each other wire type
    )
    expected = {
        "old scalar": torch.tensor(2.5),
        "old kind": torch.tensor([3, 4], dtype=torch.uint8),
        "packed sizes": torch.zeros(2, 1),
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
        (EXAMPLE[:-1], "byte 0 of 45: 44 bytes announced, 43 left"),
        (EXAMPLE + b"\x0a", "byte 47 of 47: a number without an end"),
        (EXAMPLE + EXAMPLE[:9], "byte 46 of 55: 44 bytes announced, 7 left"),
        (EXAMPLE + b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "byte 46 of 57: 18446744073709551615 bytes"),
        (EXAMPLE + b"\x0a" + b"\xff" * 40, "without an end"),
        (EXAMPLE + bytes(9), "no field"),
        (EXAMPLE + b"\x0b", "no field"),
        (EXAMPLE + parameter() + EXAMPLE, "a second parameter a"),
        (parameter() + parameter(), r"\[2\], has 16 bytes"),
        (parameter() + parameter(tensor=tensor_message(b"\x08\x04")), "second parameter"),
        (b"\x08\x05", "no MindSpore checkpoint"),
        (b"\x0a\x00", "no name"),
        (parameter(b""), "no name"),
        (parameter(b"\xff\xfe"), "no text"),
        (parameter(b"n" * 5000), "5000 bytes"),
        (parameter(tensor=b""), "without name, type or content"),
        (parameter(tensor=tensor_message(kind=b"")), "type"),
        (parameter(tensor=tensor_message(kind=b"Complex64")), "w has the unknown type Complex64"),
        (parameter(tensor=tensor_message(b"\x08\x03")), r"w, Float32 of \[3\], has 8 bytes"),
        (parameter(tensor=tensor_message(content=bytes(7))), "has 7 bytes"),
        (parameter(tensor=tensor_message(b"\x08" + b"\xff" * 9 + b"\x01")), r"shape \[-1\]"),
        (parameter(tensor=tensor_message(b"\x08\x01" * 99)), "shape"),
        (parameter(tensor=tensor_message(b"\x0a\x63" + b"\x01" * 99)), "shape"),
        (parameter(tensor=tensor_message(b"\x08\x00" + b"\x08\xff\xff\xff\xff\x7f" * 3, content=b"")), "0 bytes"),
        (parameter(tensor=tensor_message(b"\x08\x00", b"str", b"abc")), "no text"),
        (parameter(tensor=tensor_message(b"\x08\x00", b"str", b"\xff" * 8)), "no text"),
        (sized(b"\x0a", b"\x0a\x01w" + sized(b"\x1a", sized(b"\x0a", tensor_message()))), "embedding table"),
        (sized(b"\x0a", b"\x08\x01\x12\x00"), "wire type 0"),
        (sized(b"\x0a", b"\x0a\x01w\x10\x01"), "a tensor expected"),
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


def test_a_file_of_nothing_but_tiny_fields_ends_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mindspore_messages, "MOST_FIELDS", 1000)
    path = tmp_path / "tiny fields.ckpt"
    path.write_bytes(EXAMPLE + b"\x18\x00" * 1001)
    with pytest.raises(CheckpointError, match="fields"):
        checkpoint.read(path)


def test_cut_at_any_byte(tmp_path: Path) -> None:
    """A cut between two parameters looks like a shorter file; every other one is noticed."""
    path = tmp_path / "whole.ckpt"
    checkpoint.write(path, {"first": torch.ones(3), "second": torch.ones(2, 2), "third": "text"})
    whole, cut = path.read_bytes(), tmp_path / "cut.ckpt"
    shorter = 0
    for end in range(len(whole)):
        cut.write_bytes(whole[:end])
        try:
            shorter += len(checkpoint.read(cut)) < 3
        except CheckpointError as error:
            assert str(cut) in str(error)
    assert shorter == 2


def check_survival(path: Path) -> None:
    """Reading ends in tensors that can be used, or in one line about this file."""
    try:
        entries = checkpoint.read(path)
    except CheckpointError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        for value in entries.values():
            assert isinstance(value, str) or value.numel() == value.clone().numel()


@pytest.mark.parametrize("first_byte", [0xD8, 0xD9, 0xDA])  # AES-GCM, AES-CBC, SM4-CBC
def test_an_encrypted_file_says_how_to_decrypt_it(tmp_path: Path, first_byte: int) -> None:
    path = tmp_path / "secret.ckpt"
    path.write_bytes(bytes([first_byte, 0x5E, 0x3A, 0x7F]) + bytes(100))
    with pytest.raises(CheckpointError, match=r"secret\.ckpt: encrypted\. In MindSpore: load_checkpoint with dec_key"):
        checkpoint.read(path)


def test_a_name_of_two_lines_is_damage_told_in_one(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint.write(path, {"first.line": torch.ones(1)})
    path.write_bytes(path.read_bytes().replace(b"first.line", b"first\nline"))
    with pytest.raises(CheckpointError, match=r"a name that cannot be printed, 'first\\nline'"):
        checkpoint.read(path)


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "repeat"]),
        st.integers(0, 1 << 16),
        st.one_of(st.binary(min_size=1, max_size=6), st.sampled_from([b"\xff" * 9 + b"\x01", b"\x80" * 9, b"\x00"])),
    ),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    for how, place, piece in edits:
        place %= len(content) + 1
        end = min(len(content), place + len(piece) * (1 if how == "set" else 8))
        middle = {"set": piece, "insert": piece, "delete": b"", "repeat": 2 * content[place:end]}[how]
        content = content[:place] + middle + content[place if how == "insert" else end :]
    return content


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_fuzz(tmp_path: Path, edits: list[tuple[str, int, bytes]]) -> None:
    whole = tmp_path / "whole.ckpt"
    if not whole.is_file():
        checkpoint.write(whole, varied(), crc=True)
    for content in (whole.read_bytes(), whole.read_bytes()[: -checkpoint._CRC.size]):
        (tmp_path / "edited.ckpt").write_bytes(edited(content, edits))
        check_survival(tmp_path / "edited.ckpt")


def test_the_format_is_none_of_torch(tmp_path: Path) -> None:
    """Either reader names the other's file instead of crashing."""
    checkpoint.write(tmp_path / "ours.ckpt", {"a": torch.ones(2)})
    common.train.checkpoint.save(tmp_path / "torch.ckpt", {"a": torch.ones(2)})
    with pytest.raises(CheckpointError, match="no MindSpore checkpoint"):
        checkpoint.read(tmp_path / "torch.ckpt")
    with pytest.raises(CheckpointError):
        common.train.checkpoint.read(tmp_path / "ours.ckpt")
