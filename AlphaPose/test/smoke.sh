#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The smallest training and evaluation through the launchers, and whether they leave what they promise. ci/test.sh
# runs it.
#   bash test/smoke.sh
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../../common/smoke.sh"

"$python" -m common.coco.mini "$work/data" --num_train=6 --num_val=3
small=("--model=SimplePose" "--num_layers=18" "--image_size=128,64" "--heatmap_size=32,16" "--sigma=1")
bash "$tests/train_performance_1p.sh" --data_path="$work/data" --output_dir="$work" --backbone=none "${small[@]}" \
  --batch_size=4 --epochs=1 --num_workers=1 "$@"
experiment=$work/exp/exp_test_perf_1p-256x192_res50_lr1e-3_1x.yaml
bash "$tests/eval.sh" --data_path="$work/data" --output_dir="$work" --checkpoint="$experiment/last.pth" "$@"
pictures=("$work"/data/val2017/*.jpg)
as_file demo.py --checkpoint="$experiment/last.pth" --image="${pictures[0]}" --save_img --outdir="$work/demo"
logs=$work/test/output/0
has "$logs"/AlphaPose_bs4_1p_perf.log Network RankSize BatchSize DeviceType CaseName ActualFPS TrainingTime \
  TrainAccuracy ActualLoss E2ETrainingTime
has "$logs"/AlphaPose_1p_eval.log Network DeviceType CaseName EvalAccuracy
there "$work/demo/alphapose-results.json"
echo "smoke job of AlphaPose passed"
