#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The smallest training and evaluation through the launchers, plain and with lambda, and whether they leave what they
# promise. ci/test.sh runs it.
#   bash test/smoke.sh
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../../common/smoke.sh"

"$python" -m common.coco.mini "$work/data" --num_train=9 --num_val=4
place=("--data_path=$work/data" "--output_dir=$work")
small=("--epochs=1" "--eval_freq=1" "--batch_size=4" "--max_steps=2" "--num_workers=1" "--image_size=64,64"
  "--heatmap_size=16,16" "--amp=O0")
logs=$work/test/output/0
for kind in plain lambda; do
  if [[ $kind == lambda ]]; then
    flags=("--lambda") name=coco_lambda/pose_hrnet_se_lambda/w48_384x288_adam_lr1e-3_lambda
  else
    flags=() name=coco/pose_hrnet/w48_384x288_adam_lr1e-3
  fi
  bash "$tests/train_smoke_1p.sh" "${place[@]}" "${small[@]}" ${flags[@]+"${flags[@]}"} "$@"
  has "$logs"/MIPNet_bs4_1p_acc.log Network RankSize BatchSize DeviceType CaseName ActualFPS TrainingTime \
    TrainAccuracy ActualLoss E2ETrainingTime
  bash "$tests/eval.sh" "${place[@]}" --checkpoint_path="$work/output/${name}_smoke/last.pth" --save_images=2 "$@"
  has "$logs"/MIPNet_1p_eval.log Network DeviceType CaseName EvalAccuracy
  there "$work/output/$name/eval"/{detections.json,metrics.jsonl,pictures.png}
done
there "$work/output/$name/eval"/detections_l{0,1}.json
as_file demo.py --checkpoint_path="$work/output/${name}_smoke/last.pth" --images "$work"/data/val2017/*.jpg \
  --boxes=20,20,60,60 --output_dir="$work/demo"
there "$work/demo/people.jsonl"
echo "smoke job of MIPNet passed"
