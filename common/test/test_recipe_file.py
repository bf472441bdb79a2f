# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.cli import UserError
from common.recipe_file import Keys, leaves, load

import pytest

KEYS = Keys("recipe_file.py", {"TRAIN.LR": "lr"}, {"LOSS.TYPE": ("MSE", "L1")}, ("GPUS", "DEBUG."))


def test_known_keys_come_back_in_their_order() -> None:
    content = {"TRAIN": {"LR": 0.1}, "LOSS": {"TYPE": "L1"}, "GPUS": [0, 1], "DEBUG": {"SAVE": {"MAPS": True}}}
    assert list(leaves(content))[-1] == ("DEBUG.SAVE.MAPS", True)
    assert dict(KEYS.known("a.yaml", leaves(content))) == {"TRAIN.LR": 0.1}


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("TRAIN.RL", 1), "a.yaml: nothing reads TRAIN.RL; is it misspelt"),
        (("DEBUG", 1), "nothing reads DEBUG"),
        (("LOSS.TYPE", "OHKM"), "a.yaml: LOSS.TYPE is OHKM, only MSE or L1 is built"),
    ],
)
def test_a_key_or_value_that_nothing_reads_is_named(pair: tuple[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(KEYS.known("a.yaml", [pair]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a", "no configuration: TRAIN"),
        (b"a: [", "no YAML"),
        (b"\xff\xfe\x00", "no YAML"),
        (None, "stand in configs"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "own.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"own.yaml.*{message}"):
        load(str(path), "configs", "TRAIN")


def test_a_file_cannot_make_objects(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("a: !!python/object/apply:os.getcwd []")
    with pytest.raises(UserError, match="no YAML"):
        load(str(tmp_path / "own.yaml"), "configs", "TRAIN")
