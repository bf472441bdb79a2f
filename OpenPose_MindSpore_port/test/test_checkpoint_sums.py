# SPDX-License-Identifier: Apache-2.0
"""The sums of a .ckpt: MindSpore's trailer, and our own field, which every release of MindSpore reads over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.train.checkpoint import CheckpointError
from OpenPose_MindSpore_port import mindspore_checkpoint as checkpoint

import pytest
import torch
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

ENTRIES = {"network.weight": torch.arange(24.0).view(2, 12), "global_step": torch.tensor([7]), "text": "hello-世界"}
SUMS = [{"crc": True}, {"summed": True}, {"summed": True, "crc": True}]


def same(found: dict[str, Any]) -> bool:
    """Whether these are the entries, to the bit."""
    return list(found) == list(ENTRIES) and all(
        found[name] == value if isinstance(value, str) else torch.equal(found[name], value)
        for name, value in ENTRIES.items()
    )


def plain_parser() -> Callable[[bytes], Any]:
    """Parses whole files, as code of protoc does that knows this part of MindSpore's format."""
    file = FileDescriptorProto(name="checkpoint.proto", package="test", syntax="proto2")
    kind = FieldDescriptorProto
    value, whole = file.message_type.add(name="Value"), file.message_type.add(name="Checkpoint")
    value.field.add(name="tag", number=1, label=kind.LABEL_REQUIRED, type=kind.TYPE_STRING)
    repeated = whole.field.add(name="value", number=1, label=kind.LABEL_REPEATED, type=kind.TYPE_MESSAGE)
    repeated.type_name = ".test.Value"
    pool = DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Checkpoint")).FromString


@pytest.mark.parametrize("sums", SUMS)
def test_every_flipped_bit_is_found(tmp_path: Path, sums: dict[str, bool]) -> None:
    """The bits of the sum's own mark aside: without it the content is as good as that of a file without a sum."""
    bare, whole, damaged = (tmp_path / f"{name}.ckpt" for name in ("bare", "whole", "damaged"))
    checkpoint.write(bare, ENTRIES)
    checkpoint.write(whole, ENTRIES, **sums)
    content, end = whole.read_bytes(), bare.stat().st_size
    assert same(checkpoint.read(whole))
    for bit in range(8 * len(content)):
        place = bit // 8
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit % 8]) + content[place + 1 :])
        try:
            found = checkpoint.read(damaged)
        except CheckpointError as error:
            assert str(damaged) in str(error)
        else:
            assert place >= end and same(found)


def test_a_plain_parser_of_protocol_buffers_reads_over_our_sum(tmp_path: Path) -> None:
    """So old releases of MindSpore read; their own trailer is no field and has to be cut off first."""
    parse = plain_parser()
    checkpoint.write(tmp_path / "summed.ckpt", ENTRIES, summed=True)
    assert [value.tag for value in parse((tmp_path / "summed.ckpt").read_bytes()).value] == list(ENTRIES)
    checkpoint.write(tmp_path / "crc.ckpt", ENTRIES, crc=True)
    with pytest.raises(DecodeError):
        parse((tmp_path / "crc.ckpt").read_bytes())
