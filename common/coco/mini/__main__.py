# SPDX-License-Identifier: Apache-2.0
"""`python -m common.coco.mini FOLDER` draws the embedded data set."""

from common import cli
from common.coco.mini import dataset

if __name__ == "__main__":
    cli.run(dataset.main)
