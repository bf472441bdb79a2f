# SPDX-License-Identifier: Apache-2.0
"""A network's weights from MindSpore to PyTorch and back; the suffixes of the two files say how.

python -m OpenPose_MindSpore_port.convert 0-60_5304.ckpt openpose.pth    into PyTorch
python -m OpenPose_MindSpore_port.convert openpose.pth openpose.ckpt     into MindSpore
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common.train.checkpoint
from common import cli
from common.cli import UserError
from OpenPose_MindSpore_port import mindspore_checkpoint, weights
from OpenPose_MindSpore_port.mindspore_checkpoint import NETWORK

ENDINGS = (".ckpt", ".pth", ".pt")
RETIRED = {
    "key": "encrypted files are not read; in MindSpore: load_checkpoint with dec_key, then save_checkpoint",
    "crc": "MindSpore reads a .ckpt without a checksum",
    "weights_only": "moments, steps and learning rates are always left out",
    "prefix": "a .ckpt has the network. before its names that MindSpore's evaluation needs",
}


@dataclass(frozen=True)
class Config:
    """Convert a network's weights between .ckpt (MindSpore) and .pth (PyTorch)."""

    source: str = cli.flag("file to read; also the first word without a flag (required)", "")
    target: str = cli.flag("file to write; also the second word (required)", "")


def main(argv: Sequence[str] | None = None) -> None:
    """The command `python -m OpenPose_MindSpore_port.convert`."""
    config = cli.parse(Config, {}, argv, retired=RETIRED, prepare=_name_the_files)
    source, target = Path(config.source), Path(config.target)
    if not (config.source and config.target) or source.resolve() == target.resolve():
        raise UserError("which files? python -m OpenPose_MindSpore_port.convert SOURCE TARGET, two different ones")
    for path in (source, target):
        if path.suffix not in ENDINGS:
            raise UserError(f"{path}: the suffix sets the format; choose from {', '.join(ENDINGS)}")
    tensors = weights.read(source)
    if not tensors:
        raise UserError(f"{source}: no weights in it")
    if target.suffix == ".ckpt":
        mindspore_checkpoint.write(target, {NETWORK + name: tensor for name, tensor in tensors.items()})
    else:
        common.train.checkpoint.save(target, tensors)
    values = sum(tensor.numel() for tensor in tensors.values())
    print(f"{target}: {len(tensors)} tensors, {values:,} values")  # noqa: T201  the program's answer


def _name_the_files(words: Sequence[str]) -> list[str]:
    """Source and target may be given without flags, as the first words."""
    plain = list(itertools.takewhile(lambda word: not word.startswith("-"), words[:2]))
    named = [f"--{flag}={word}" for flag, word in zip(("source", "target"), plain, strict=False)]
    return [*named, *words[len(plain) :]]


if __name__ == "__main__":
    cli.run(main)
