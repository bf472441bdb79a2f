# SPDX-License-Identifier: Apache-2.0
"""The demo under its published name: people in images, videos and cameras, see `AlphaPose.demo`.

python scripts/demo_inference.py --cfg=configs/coco/resnet/256x192_res50_lr1e-3_1x.yaml \
    --checkpoint=fast_res50_256x192.pth --indir=images --save_img
"""

import common.cli
from AlphaPose.demo import main

if __name__ == "__main__":
    common.cli.run(main)
