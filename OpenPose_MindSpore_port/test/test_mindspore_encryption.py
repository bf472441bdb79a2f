# SPDX-License-Identifier: Apache-2.0
"""Encrypted checkpoints: real files, what we write, wrong keys and damage."""

import sys
from pathlib import Path

from common.cli import UserError
from common.train.checkpoint import CheckpointError
from OpenPose_MindSpore_port import mindspore_checkpoint as checkpoint
from OpenPose_MindSpore_port import mindspore_encryption as encryption
from OpenPose_MindSpore_port.test.test_mindspore_checkpoint import (
    EDITS,
    assert_equal,
    check_golden,
    check_survival,
    edited,
    varied,
)  # fmt: skip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KEY = b"0123456789ABCDEF"
ENCRYPTED = ("enc_AES-GCM", "enc_AES-CBC", "enc_SM4-CBC")


@pytest.mark.parametrize("name", ENCRYPTED)
def test_real_encrypted_files(shared: Path, name: str) -> None:
    pytest.importorskip("cryptography")
    check_golden(shared, name, KEY)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS, mode=st.sampled_from(list(encryption.KEY_BYTES)))
def test_fuzz_encrypted(tmp_path: Path, edits: list[tuple[str, int, bytes]], mode: str) -> None:
    pytest.importorskip("cryptography")
    whole = tmp_path / f"{mode}.ckpt"
    if not whole.is_file():
        checkpoint.write(whole, varied(), key=KEY, mode=mode)
    (tmp_path / "edited.ckpt").write_bytes(edited(whole.read_bytes(), edits))
    check_survival(tmp_path / "edited.ckpt", KEY)


@pytest.mark.parametrize("mode", encryption.KEY_BYTES)
@pytest.mark.parametrize("block_bytes", [encryption.BLOCK_BYTES, 64])
def test_encryption(tmp_path: Path, mode: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography")
    monkeypatch.setattr(encryption, "BLOCK_BYTES", block_bytes)
    path = tmp_path / "secret.ckpt"
    checkpoint.write(path, varied(), key=KEY, mode=mode)
    assert_equal(checkpoint.read(path, KEY), varied())
    assert b"Float32" not in path.read_bytes()
    for key, words in ((b"f" * 16, "wrong key"), (None, f"encrypted \\({mode}\\)"), (b"short", "5 bytes")):
        with pytest.raises(UserError, match=words):
            checkpoint.read(path, key)


def test_encryption_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.ckpt"
    for arguments, words in (
        ({"crc": True}, "checksum"),
        ({"mode": "ROT13"}, "ROT13: choose from AES-GCM"),
        ({"key": bytes(24), "mode": "SM4-CBC"}, "needs 16$"),
    ):
        with pytest.raises(UserError, match=words):
            checkpoint.write(path, {"a": 1}, **{"key": KEY, **arguments})
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(UserError, match="pip install cryptography"):
        checkpoint.write(path, {"a": 1}, key=KEY)
    assert not list(tmp_path.iterdir())


def test_files_encrypted_before_release_2(tmp_path: Path) -> None:
    path = tmp_path / "old.ckpt"
    numbers = np.array([0x7F3A5ED8, 8 + 16 + 32, 16], dtype="<u4").tobytes()
    path.write_bytes(numbers + bytes(16) + b"\x20\x00\x00\x00" + bytes(32))
    with pytest.raises(CheckpointError, match="before 2.0"):
        checkpoint.read(path, KEY)
