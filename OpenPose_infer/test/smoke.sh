#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The published steps through files, and the chain in memory, on a few drawn images: both must find the same people.
# ci/test.sh runs it.
#   bash test/smoke.sh
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../../common/smoke.sh"

step() {
  local module=$1
  shift
  "$python" -m "OpenPose_infer.$module" "$@"
}

"$python" -m common.coco.mini "$work/data" --num_train=1 --num_val=4
"$python" - "$work/seeded.pth" <<'PYTHON'
import sys
import torch
from common.skeleton import OPENPOSE
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet
torch.manual_seed(0)
model = PoseEstimationWithMobileNet(1, OPENPOSE.num_heatmaps, OPENPOSE.num_pafs)
torch.save({"state_dict": model.state_dict()}, sys.argv[1])
PYTHON
labels=$work/data/annotations/person_keypoints_val2017.json
step OpenPose_preprocess --src_path="$work/data/val2017" --save_path="$work/bin" --pad_txt_path="$work/pad.txt"
step gen_dataset_info bin "$work/bin" "$work/prep.info" 640 368
step OpenPose_pth2onnx --checkpoint_path="$work/seeded.pth" --output_name="$work/pose.onnx"
step benchmark -model_type=vision -device_id=0 -batch_size=1 -om_path="$work/pose.onnx" \
  -input_text_path="$work/prep.info" -input_width=640 -input_height=368 -output_binary=True -useDvpp=False \
  --result_path="$work/result"
step OpenPose_postprocess --benchmark_result_path="$work/result/dumpOutput_device0" --labels="$labels" \
  --pad_txt_path="$work/pad.txt" --detections_save_path="$work/through_files.json"
bash "$tests/eval.sh" --data_path="$work/data" --model="$work/pose.onnx" --output_dir="$work/memory"
"$python" - "$work/through_files.json" "$work/memory/result.json" <<'PYTHON'
import json
import sys
files, memory = (sorted(json.load(open(name)), key=str) for name in sys.argv[1:])
assert files == memory, "the chain through files and the chain in memory differ"
PYTHON
as_file infer.py --data_path="$work/data" --model="$work/pose.onnx" --output_dir="$work/as_file"
there "$work/as_file/result.json"
grep -q "^EvalAccuracy = 0" "$work"/memory/test/output/0/openpose_infer_1p_eval.log
echo "smoke job of OpenPose_infer passed"
