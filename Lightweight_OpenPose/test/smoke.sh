#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The smallest training and evaluation through the launchers, and whether they leave what they promise. ci/test.sh
# runs it.
#   bash test/smoke.sh
set -euo pipefail

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${tests%/*/*}
python=${PYTHON:-$root/.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# has FILE KEY...: a result file with these keys
has() {
  local file=$1 key
  shift
  for key in "$@"; do
    grep -q "^$key = ." "$file" || { echo "smoke: $file lacks $key" >&2 && exit 1; }
  done
}

PYTHONPATH=$root "$python" -m common.mini_coco "$work/data" --num_train=9 --num_val=4
bash "$tests/train_performance_1p.sh" --data_path="$work/data" --output_dir="$work" --checkpoint_path=none \
  --net_input_size=96 --batch_size=4 --num_workers=1 "$@"
bash "$tests/eval.sh" --data_path="$work/data" --output_dir="$work" --step=1 --base_height=96 --val_images=4 \
  --checkpoint_path="$work/perf_1p_checkpoints/last.pth" --save_images=2 "$@"
logs=$work/test/output/0
has "$logs"/openpose_bs4_1p_perf.log Network RankSize BatchSize DeviceType CaseName ActualFPS TrainingTime \
  TrainAccuracy ActualLoss E2ETrainingTime
has "$logs"/openpose_1p_eval.log Network DeviceType CaseName EvalAccuracy
for file in "$work"/eval_step1/{detections.json,metrics.jsonl,pictures.png}; do
  [[ -s $file ]] || { echo "smoke: $file is missing or empty" >&2 && exit 1; }
done
echo "smoke job of Lightweight_OpenPose passed"
