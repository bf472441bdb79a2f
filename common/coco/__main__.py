# SPDX-License-Identifier: Apache-2.0
"""`python -m common.coco DATA_PATH` checks a data set."""

from common import cli
from common.coco import validate

if __name__ == "__main__":
    cli.run(validate.main)
