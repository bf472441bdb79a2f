# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.cli import UserError
from common.train.log import Log, _summary_writer

import pytest


def test_the_device_that_names_the_folder_of_one_process_names_its_file(tmp_path: Path) -> None:
    for folder, name in (("3", "train_3.log"), ("mine", "train_0.log")):
        with Log(tmp_path / "metrics.jsonl", tmp_path / folder) as log:
            log.line("a line")
        assert (tmp_path / folder / name).read_text() == "a line\n"


def test_a_folder_for_curves_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("a file")
    with (
        Log(tmp_path / "metrics.jsonl", tmp_path / "logs") as log,
        pytest.raises(UserError, match="cannot write .*tensorboard: .*; name another folder with --output_dir"),
    ):
        _summary_writer(tmp_path / "tensorboard", log)
