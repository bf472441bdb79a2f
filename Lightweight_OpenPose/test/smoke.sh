#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The smallest training and evaluation through the launchers, and whether they leave what they promise. ci/test.sh
# runs it.
#   bash test/smoke.sh
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../../common/smoke.sh"

"$python" -m common.coco.mini "$work/data" --num_train=9 --num_val=4
bash "$tests/train_performance_1p.sh" --data_path="$work/data" --output_dir="$work" --checkpoint_path=none \
  --net_input_size=96 --batch_size=4 --num_workers=1 "$@"
bash "$tests/eval.sh" --data_path="$work/data" --output_dir="$work" --step=1 --base_height=96 --val_images=4 \
  --checkpoint_path="$work/perf_1p_checkpoints/last.pth" --save_images=2 "$@"
as_file demo.py --checkpoint_path="$work/perf_1p_checkpoints/last.pth" --images "$work"/data/val2017/*.jpg \
  --height_size=96 --output_dir="$work/demo"
logs=$work/test/output/0
has "$logs"/openpose_bs4_1p_perf.log Network RankSize BatchSize DeviceType CaseName ActualFPS TrainingTime \
  TrainAccuracy ActualLoss E2ETrainingTime
has "$logs"/openpose_1p_eval.log Network DeviceType CaseName EvalAccuracy
there "$work"/eval_step1/{detections.json,metrics.jsonl,pictures.png} "$work/demo/people.jsonl"
echo "smoke job of Lightweight_OpenPose passed"
