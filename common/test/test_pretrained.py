# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.topdown.resnet import BOTTLENECK_BLOCKS, BasicBlock, ResNet, blocks_of
from common.train.checkpoint import CheckpointError, Published
from common.train.pretrained import HRNETS, PUBLISHED, RESNETS, load_backbone, locate, locate_backbone

import pytest
import torch

PAGE = {"hand.pth": "https://example.org/zoo"}


def test_every_published_name_ends_in_its_hash() -> None:
    assert {*RESNETS.values(), *HRNETS.values()} <= set(PUBLISHED)
    for name, source in PUBLISHED.items():
        assert source.url.endswith(f"/{name}") and name.endswith(f"-{source.sha256}.pth")
        assert source.sha256 is not None and len(source.sha256) == 8


def test_places_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.pth"
    own.touch()
    assert locate(str(own), PAGE, (tmp_path,)) == own
    with pytest.raises(CheckpointError, match=r"hand.pth is not here: take it from https://example.org/zoo and put"):
        locate("somewhere/hand.pth", PAGE, (tmp_path,))
    for name in ("hand.pth", RESNETS[50]):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    monkeypatch.setitem(PUBLISHED, RESNETS[50], Published("https://example.org"))  # of any sum
    assert locate("lib/models/hand.pth", PAGE, (tmp_path,)) == tmp_path / "hand.pth"
    assert locate_backbone(f"lib/models/{RESNETS[50]}", (tmp_path,)) == tmp_path / RESNETS[50]
    (tmp_path / RESNETS[18]).write_bytes(b"PK\x03\x04")
    with pytest.raises(CheckpointError, match=f"{RESNETS[18]}: its SHA-256 begins with .*, published is f37072fd"):
        locate_backbone(RESNETS[18], (tmp_path,))


def test_what_is_not_there_is_answered_by_names_of_its_kind(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="models/other.pth: no such checkpoint, .* published hand.pth$"):
        locate("models/other.pth", PAGE, (tmp_path,))
    with pytest.raises(CheckpointError, match="other.pth: no such checkpoint, .* published resnet18-") as caught:
        locate_backbone("other.pth", (tmp_path,))
    assert "hand.pth" not in str(caught.value)


def test_a_backbone_takes_its_own_depth_only() -> None:
    def trunk(counts: tuple[int, ...]) -> ResNet:
        return ResNet((BasicBlock,) * 4, counts, 8)

    source, path = trunk((2, 1, 1, 1)).state_dict() | {"fc.weight": torch.zeros(2)}, Path("file.pth")
    assert "1 unused (fc.weight)" in str(load_backbone(trunk((2, 1, 1, 1)), source, path, own=r"$."))
    for counts in ((1, 1, 1, 1), (2, 2, 1, 1)):
        with pytest.raises(CheckpointError, match="file.pth: weights of another network, depth or width"):
            load_backbone(trunk(counts), source, path, own=r"$.")


def test_depths_of_resnets() -> None:
    for depth in RESNETS:
        block, counts = blocks_of(depth)
        convolutions = 3 if depth in BOTTLENECK_BLOCKS else 2
        assert convolutions * sum(counts) + 2 == depth  # with the stem and the classifier
        assert block.expansion == (4 if depth in BOTTLENECK_BLOCKS else 1)
