#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The smallest run of the published commands: ignore masks, training on two ranks of a rank table, evaluation of the
# checkpoint for MindSpore, and whether they leave what they promise. ci/test.sh runs it.
#   bash test/smoke.sh
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../../common/smoke.sh"
model=${tests%/*}
export PYTHON=$python

"$python" -m common.coco.mini "$work/dataset" --num_train=9 --num_val=4
cat >"$work/table.json" <<'END'
{"version": "1.0", "server_count": "1", "server_list": [{"server_id": "127.0.0.1", "device": [
  {"device_id": "0", "device_ip": "127.0.0.1", "rank_id": "0"},
  {"device_id": "1", "device_ip": "127.0.0.1", "rank_id": "1"}], "host_nic_ip": "reserve"}], "status": "completed"}
END
cd "$work"
"$python" "$model/gen_ignore_mask.py" --train_ann dataset/annotations/person_keypoints_train2017.json \
  --val_ann dataset/annotations/person_keypoints_val2017.json --train_dir train2017 --val_dir val2017
sh "$model/scripts/run_distribute_train.sh" table.json --device=cpu --output_dir="$work" --vgg_path=none --insize=64 \
  --batch_size=1 --max_steps=2 --epochs=1 --eval_freq=0 --amp=O0 --num_workers=1 --log_interval=1 "$@"
checkpoint=$(echo "$work"/checkpoints/*/0-1_2.ckpt)
sh "$model/scripts/run_eval_ascend.sh" "$checkpoint" dataset/val2017 dataset/annotations/person_keypoints_val2017.json \
  0 --device=cpu --output_dir="$work" --output_path="$work/output_img" --inference_img_size=64 --save_images=2
as_file demo.py --checkpoint_path="$checkpoint" --images "$work"/dataset/val2017/*.jpg --inference_img_size=64 \
  --output_dir="$work/demo"
logs=$work/test/output/0
has "$logs"/OpenPose_MindSpore_bs2_2p_acc.log Network RankSize BatchSize DeviceType CaseName ActualFPS TrainingTime \
  TrainAccuracy ActualLoss E2ETrainingTime
has "$logs"/OpenPose_MindSpore_1p_eval.log Network DeviceType CaseName EvalAccuracy
lines=$work/train_checkpoints/0/train_0.log
grep -q '^epoch\[0\], iter\[2\], loss\[.*\], .* imgs/sec, vgglr=' "$lines" ||
  { echo "smoke: $lines lacks the published lines" >&2 && exit 1; }
there "$checkpoint" "$work"/output_img/{eval_result.json,metrics.jsonl} "$work/demo/people.jsonl"
echo "smoke job of OpenPose_MindSpore_port passed"
