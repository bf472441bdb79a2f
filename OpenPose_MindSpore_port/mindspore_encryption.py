# SPDX-License-Identifier: Apache-2.0
"""Encrypted MindSpore checkpoints: AES-GCM, AES-CBC and SM4-CBC, through the package `cryptography`.

The plain file is cut into blocks of 64 MiB. Each block stands for itself: magic number, the tag of AES-GCM, length of
the rest, length of the initial vector, the vector, length of the cipher text, cipher text; numbers are 32 bits, little
endian. AES-GCM takes the first 12 bytes of the vector; CBC pads as PKCS#7.
Source: specification, section B, and files that MindSpore 2.10 wrote.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from common.cli import UserError
from common.train.checkpoint import CheckpointError

GCM, AES_CBC, SM4_CBC = "AES-GCM", "AES-CBC", "SM4-CBC"
MAGICS = {0x7F3A5ED8: GCM, 0x7F3A5ED9: AES_CBC, 0x7F3A5EDA: SM4_CBC}
BLOCK_BYTES = 64 << 20
KEY_BYTES = {GCM: (16, 24, 32), AES_CBC: (16, 24, 32), SM4_CBC: (16,)}
_NUMBER = struct.Struct("<I")
_TAG_BYTES, _VECTOR_BYTES, _NONCE_BYTES, _CIPHER_BYTES = 16, 16, 12, 16


def mode_of(head: bytes) -> str | None:
    """How a file that begins with `head` (4 bytes or more) is encrypted; None where it is not."""
    return MAGICS.get(_NUMBER.unpack_from(head)[0]) if len(head) >= _NUMBER.size else None


def check_key(key: bytes, mode: str) -> None:
    """Raises UserError where a key is too short or too long for `mode`, or no such mode is known."""
    if mode not in KEY_BYTES:
        raise UserError(f"encryption {mode}: choose from {', '.join(KEY_BYTES)}")
    if len(key) not in KEY_BYTES[mode]:
        allowed = " or ".join(str(count) for count in KEY_BYTES[mode])
        raise UserError(f"the key has {len(key)} bytes; {mode} needs {allowed}")


def decrypt(path: Path, key: bytes | None) -> bytearray:
    """The plain content of an encrypted file; memory for it and for one block of 64 MiB.

    Raises CheckpointError: cut short, damaged, no key or a wrong one, or a layout of releases before 2.0; UserError
    for a key of the wrong length or without the package `cryptography`.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        mode = mode_of(file.read(_NUMBER.size))
        if mode is None:
            raise CheckpointError(f"{path}: not an encrypted MindSpore checkpoint")
        if key is None:
            raise CheckpointError(
                f"{path}: encrypted ({mode}): python -m OpenPose_MindSpore_port.convert SOURCE TARGET --key=..."
            )
        check_key(key, mode)
        file.seek(0)
        plain = bytearray()
        while file.tell() < size:
            plain += _Block(path, file, size, mode).decrypted(key)
    return plain


class _Block:
    """One block of an encrypted file, as it stands there."""

    def __init__(self, path: Path, file: BinaryIO, size: int, mode: str) -> None:
        self._path, self._file, self._size, self._mode = path, file, size, mode
        self._begin = file.tell()
        if mode_of(self._bytes(_NUMBER.size)) != mode:
            raise self._damaged(f"no block of {mode} begins there")
        self._refuse_old_layout()
        self.tag = self._bytes(_TAG_BYTES) if mode == GCM else b""
        block_bytes = self._number()
        self.vector = self._bytes(self._number())
        self.cipher = self._bytes(self._number())
        if len(self.vector) != _VECTOR_BYTES or block_bytes != 2 * _NUMBER.size + len(self.vector) + len(self.cipher):
            raise self._damaged("its lengths contradict each other")

    def decrypted(self, key: bytes) -> bytes:
        """The plain text of the block."""
        decryptor = _cipher(self._mode, key, self.vector, self.tag).decryptor()
        try:
            return _unpadded(decryptor.update(self.cipher) + decryptor.finalize(), self._mode)
        except Exception as error:  # InvalidTag of AES-GCM, ValueError of a cut cipher text or a wrong padding
            raise CheckpointError(f"{self._path}: wrong key, or a damaged file ({self._mode})") from error

    def _refuse_old_layout(self) -> None:
        """Releases before 2.0 wrote no tag, and one magic number for both modes: the mode cannot be known."""
        place = self._file.tell()
        head = self._file.read(2 * _NUMBER.size)
        self._file.seek(place)
        if self._mode != GCM or len(head) < 2 * _NUMBER.size:
            return
        block_bytes, vector_bytes = struct.unpack("<II", head)
        if vector_bytes == _VECTOR_BYTES and place + _NUMBER.size + block_bytes <= self._size:
            raise CheckpointError(
                f"{self._path}: encrypted by a MindSpore before 2.0; load it there and save it without a key"
            )

    def _number(self) -> int:
        return int(_NUMBER.unpack(self._bytes(_NUMBER.size))[0])

    def _bytes(self, count: int) -> bytes:
        if self._file.tell() + count > self._size:
            raise self._damaged(f"it needs {self._file.tell() + count - self._size} more bytes than the file has")
        return self._file.read(count)

    def _damaged(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"{self._path}: cut short or damaged in the encrypted block at byte {self._begin}: {why}. "
            "Copy the file again"
        )


class EncryptingFile:
    """Takes what `write` is given to `file` in encrypted blocks; `close` writes the last one."""

    def __init__(self, file: BinaryIO, key: bytes, mode: str) -> None:
        """Raises UserError for a key of the wrong length, or without the package `cryptography`."""
        check_key(key, mode)
        _cipher(mode, key, bytes(_VECTOR_BYTES), b"")
        self._file, self._key, self._mode = file, key, mode
        self._waiting = bytearray()

    def write(self, content: Any) -> None:
        """`content`: bytes, or anything with their buffer."""
        rest = memoryview(content).cast("B")
        while len(self._waiting) + len(rest) >= BLOCK_BYTES:
            room = BLOCK_BYTES - len(self._waiting)
            self._waiting += rest[:room]
            rest = rest[room:]
            self._write_block()
        self._waiting += rest

    def close(self) -> None:
        """Writes what is left; the file itself stays open."""
        if self._waiting:
            self._write_block()

    def _write_block(self) -> None:
        vector = os.urandom(_VECTOR_BYTES)
        encryptor = _cipher(self._mode, self._key, vector, b"").encryptor()
        cipher = encryptor.update(_padded(bytes(self._waiting), self._mode)) + encryptor.finalize()
        self._waiting.clear()
        magic = next(number for number, mode in MAGICS.items() if mode == self._mode)
        tag = encryptor.tag if self._mode == GCM else b""
        rest = _NUMBER.pack(len(vector)) + vector + _NUMBER.pack(len(cipher))
        self._file.write(_NUMBER.pack(magic) + tag + _NUMBER.pack(len(rest) + len(cipher)) + rest)
        self._file.write(cipher)


def _cipher(mode: str, key: bytes, vector: bytes, tag: bytes) -> Any:
    """`tag`: of the block to decrypt, empty for encryption."""
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError as error:
        raise UserError("encrypted checkpoints need another package: pip install cryptography") from error
    algorithm: Callable[[bytes], Any] = algorithms.SM4 if mode == SM4_CBC else algorithms.AES
    chain = modes.GCM(vector[:_NONCE_BYTES], tag or None) if mode == GCM else modes.CBC(vector)
    return Cipher(algorithm(key), chain)


def _padded(plain: bytes, mode: str) -> bytes:
    """PKCS#7: as many bytes as a block of the cipher lacks, each of them that number."""
    lacking = _CIPHER_BYTES - len(plain) % _CIPHER_BYTES
    return plain if mode == GCM else plain + bytes([lacking]) * lacking


def _unpadded(plain: bytes, mode: str) -> bytes:
    """Raises ValueError where the padding is none."""
    if mode == GCM:
        return plain
    count = plain[-1] if plain else 0
    if not 1 <= count <= _CIPHER_BYTES or not plain.endswith(bytes([count]) * count):
        raise ValueError("no PKCS#7 padding")
    return plain[:-count]
