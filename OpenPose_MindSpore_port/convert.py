# SPDX-License-Identifier: Apache-2.0
"""Weights from MindSpore to PyTorch and back; the endings of the two files say how they are read and written.

python -m OpenPose_MindSpore_port.convert 0-60_5304.ckpt openpose.pth --weights_only    into PyTorch
python -m OpenPose_MindSpore_port.convert openpose.pth openpose.ckpt --prefix=network.  for MindSpore's own evaluation
python -m OpenPose_MindSpore_port.convert 0-60_5304.ckpt everything.safetensors         moments and all
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import common.train.checkpoint
from common import cli, files
from common.cli import UserError
from common.train.checkpoint import CheckpointError
from OpenPose_MindSpore_port import mindspore_checkpoint
from OpenPose_MindSpore_port.mindspore_checkpoint import NETWORK, is_weight, network_weights, scalar

from torch import Tensor

Entries = dict[str, Tensor | str]
ENDINGS = (".ckpt", ".pth", ".pt", ".safetensors")
INSTALL_SAFETENSORS = "files of safetensors need another package: pip install safetensors"
_FORMAT = "format"  # the word of safetensors that says whose tensors they are


RETIRED = {"key": "encrypted files are not read; in MindSpore: load_checkpoint with dec_key, then save_checkpoint"}


@dataclass(frozen=True)
class Config:
    """Convert weights between .ckpt (MindSpore), .pth (PyTorch) and .safetensors; names stay as they are."""

    source: str = cli.flag("file to read; also the first word without a flag (required)", "")
    target: str = cli.flag("file to write; also the second word (required)", "")
    weights_only: bool = cli.flag("the network alone: network. off the names, no moments, steps, learning rates", False)
    prefix: str = cli.flag("put before every name; MindSpore's evaluation needs network.", "")
    crc: bool = cli.flag("a .ckpt with MindSpore's checksum", False)


def main(argv: Sequence[str] | None = None) -> None:
    """The command `python -m OpenPose_MindSpore_port.convert`."""
    config = cli.parse(Config, {}, argv, retired=RETIRED, prepare=_name_the_files)
    source, target = _paths(config)
    entries, left_out = read(source, config.weights_only)
    if not any(isinstance(value, Tensor) for value in entries.values()):
        raise CheckpointError(f"{source}: no weights in it{_of(left_out)}")
    write(target, {config.prefix + name: value for name, value in entries.items()}, config.crc)
    values = sum(value.numel() for value in entries.values() if isinstance(value, Tensor))
    print(f"{target}: {len(entries)} entries, {values:,} values{_of(left_out)}")  # noqa: T201  the program's answer


def read(source: Path, weights_only: bool = False) -> tuple[Entries, list[str]]:
    """The tensors and texts of a file by its ending, and the names that were left out.

    Raises UserError, see `mindspore_checkpoint.read` and `train.checkpoint.read`; for an unknown ending; where the
    package safetensors is missing.
    """
    names = list[str]()

    def keep(name: str) -> bool:
        names.append(name)
        return not weights_only or is_weight(name)

    readers = {".ckpt": mindspore_checkpoint.read, ".safetensors": _read_safetensors}
    entries = readers.get(_ending(source), _read_torch)(source, keep)
    kept = network_weights(entries) if weights_only else entries
    return kept, [name for name in names if name not in kept and name.removeprefix(NETWORK) not in kept]


def write(target: Path, entries: Mapping[str, Tensor | str], crc: bool = False) -> None:
    """Writes a file by its ending, whole or not at all. Raises UserError as `read`, or where it cannot be written."""
    ending = _ending(target)
    if ending == ".ckpt":
        mindspore_checkpoint.write(target, entries, crc)
    elif ending == ".safetensors":
        _write_safetensors(target, entries)
    else:
        common.train.checkpoint.save(target, entries)


def _name_the_files(words: Sequence[str]) -> list[str]:
    """Source and target may be given without flags, as the first words."""
    named = []
    for word, flag in zip(words, ("source", "target"), strict=False):
        if word.startswith("-"):
            break
        named.append(f"--{flag}={word}")
    return [*named, *words[len(named) :]]


def _paths(config: Config) -> tuple[Path, Path]:
    if not (config.source and config.target):
        raise UserError("which files? python -m OpenPose_MindSpore_port.convert SOURCE TARGET")
    source, target = Path(config.source), Path(config.target)
    if source.resolve() == target.resolve():
        raise UserError(f"{source} is source and target: name another target")
    if config.crc and target.suffix != ".ckpt":
        raise UserError(f"--crc: {target} has no such checksum, only a .ckpt")
    return source, target


def _ending(path: Path) -> str:
    if path.suffix not in ENDINGS:
        raise UserError(f"{path}: the ending says the format; choose from {', '.join(ENDINGS)}")
    return path.suffix


def _of(left_out: list[str]) -> str:
    """The end of a message: what is missing, by three examples."""
    more = ", ..." if len(left_out) > 3 else ""
    return f"; left out {len(left_out)} ({', '.join(left_out[:3])}{more})" if left_out else ""


def _read_torch(source: Path, keep: Callable[[str], bool]) -> Entries:
    """The weights of a .pth, under `state_dict` or bare, and the numbers and texts beside them."""
    content = common.train.checkpoint.read(source)
    inner = content.get("state_dict", content)
    chosen = {name: value for name, value in inner.items() if keep(name)}
    for name in () if inner is content else content.keys() - {"state_dict"}:
        keep(name)  # and is left out
    plain = {name: value for name, value in chosen.items() if isinstance(value, Tensor | str | int | float)}
    return {name: value if isinstance(value, Tensor | str) else scalar(name, value) for name, value in plain.items()}


def _read_safetensors(source: Path, keep: Callable[[str], bool]) -> Entries:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise UserError(INSTALL_SAFETENSORS) from error
    if not source.is_file():
        raise CheckpointError(f"{source}: no such checkpoint")
    try:
        with safe_open(source, framework="pt") as file:
            texts = {name: text for name, text in (file.metadata() or {}).items() if name != _FORMAT}
            tensors = {name: file.get_tensor(name) for name in file.keys() if keep(name)}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{source}: damaged, or no file of safetensors ({error}); copy it again") from error
    return {**tensors, **{name: text for name, text in texts.items() if keep(name)}}


def _write_safetensors(target: Path, entries: Mapping[str, Tensor | str]) -> None:
    """Texts stand in the file's metadata. Weights that two names share are written twice."""
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise UserError(INSTALL_SAFETENSORS) from error
    texts = {name: text for name, text in entries.items() if isinstance(text, str)}
    if _FORMAT in texts:
        raise UserError(f"{target}: an entry is called {_FORMAT}, which safetensors keeps for itself: write a .ckpt")
    tensors = {name: value.contiguous().clone() for name, value in entries.items() if isinstance(value, Tensor)}
    files.write_atomically(target, save(tensors, {_FORMAT: "pt", **texts}))


if __name__ == "__main__":
    cli.run(main)
