# SPDX-License-Identifier: Apache-2.0
"""What every test may ask for."""

import os
from pathlib import Path

import common  # noqa: F401  sets its switches before torch and OpenCV are imported
from common.coco.mini import dataset

import pytest

ROOT = Path(__file__).parent
os.environ["POSE_ZOO_MIRROR"] = str(ROOT / "no such mirror")  # no test asks the internet for weights


@pytest.fixture(scope="session")
def shared() -> Path:
    """Golden outputs of the originals and real images, beside the project; users do not have them."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared (golden outputs and real images) next to the project")
    return folder


@pytest.fixture(scope="session")
def tiny_coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn COCO folder of a few images: enough to run every program on."""
    return dataset.write(tmp_path_factory.mktemp("tiny coco"), num_train=12, num_val=6)
