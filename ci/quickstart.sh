#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From nothing to skeletons on images: environment, data, training, evaluation, pictures, a table of what came out.
#
#   bash ci/quickstart.sh                            the embedded data set of drawn people; minutes on a laptop
#   bash ci/quickstart.sh --data_path=/data/coco     step 1 of the published recipe on COCO
#   bash ci/quickstart.sh --data_path=/data/coco --epochs=1 --val_images=50 --checkpoint_path=none
#
# --output_dir=FOLDER takes all results [quickstart, in the clone]. Other flags, as --name=value, go to train.py; those
# that say where and on what to compute go to eval.py too. COCO begins from the published MobileNet weights, which are
# downloaded; --checkpoint_path=none begins at random. What is done is not done again: remove the folder to start over.
set -euo pipefail

stop() {
  echo "error: $*" >&2
  exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data_path=mini output=${here%/*}/quickstart train_flags=() eval_flags=()
for flag in "$@"; do
  case $flag in
    -h | --help) sed -n '3,/^# downloaded/s/^# \{0,1\}//p' "$0" && exit ;;
    --data[-_]path=*) data_path=${flag#*=} ;;
    --output[-_]dir=*) output=${flag#*=} ;;
    --recipe=* | --step=* | --case=* | --experiment[-_]name=* | --log[-_]dir=*)
      stop "${flag%%=*} is not for the quickstart: Lightweight_OpenPose/test/train_full_1p.sh takes it" ;;
    --device=* | --device[-_]id=* | --skeleton=* | --val[-_]*=*) train_flags+=("$flag") eval_flags+=("$flag") ;;
    --*) train_flags+=("$flag") ;;
    *) stop "$flag: write flags as --name=value" ;;
  esac
done
trap 'echo "quickstart: stopped while ${stage:-starting}; the reason is above" >&2' ERR

begin() {
  stage=$1
  printf '\n== %s (after %d s)\n' "$stage" "$SECONDS"
}

# What a stage depends on, in a file beside its results: unchanged, the stage need not run again.
is_done() {
  [[ -f $1 && $(<"$1") == "$2" ]]
}

stage="making the environment"
# shellcheck source=ci/environment.sh
source "$here/environment.sh"
[[ $data_path == mini ]] && launcher=train_smoke_1p.sh name=smoke || launcher=train_full_1p.sh name=step_one
tests=$root/Lightweight_OpenPose/test folder=$output/${name}_checkpoints
best=$folder/model_best.pth metrics=$folder/metrics.jsonl results=$output/eval_step1
mkdir -p "$output"
if [[ -d $folder && -f $output/data_path.txt && $(<"$output/data_path.txt") != "$data_path" ]]; then
  stop "$output holds a run on $(<"$output/data_path.txt"); for another data set name another --output_dir"
fi
echo "$data_path" >"$output/data_path.txt"

training="$data_path ${train_flags[*]}"
if [[ -f $best ]] && is_done "$output/trained.txt" "$training"; then
  begin "training: done before, skipped"
else
  begin "training"
  rm -f "$output/trained.txt"
  words=("--data_path=$data_path" "--output_dir=$output" "${train_flags[@]}")
  [[ $data_path == mini ]] || words+=(--step=1)
  bash "$tests/$launcher" "${words[@]}"
  [[ -f $best ]] || stop "training left no $best: does --epochs or --eval_freq leave out every evaluation?"
  echo "$training" >"$output/trained.txt"
fi

# The network sees validation images in the height that it was trained for; the start of the metrics says which.
height=$(sed -n 's/.*"base_height": \([0-9]*\).*/\1/p' "$metrics" | tail -n 1)
evaluation="$(cksum <"$best") $height ${eval_flags[*]}"
if [[ -f $results/pictures.png ]] && is_done "$output/evaluated.txt" "$evaluation"; then
  begin "evaluation: done before, skipped"
else
  begin "evaluation of the best checkpoint"
  rm -f "$output/evaluated.txt"
  bash "$tests/eval.sh" "--data_path=$data_path" "--output_dir=$output" --step=1 "--checkpoint_path=$best" \
    "--base_height=$height" --save_images=8 "${eval_flags[@]}"
  echo "$evaluation" >"$output/evaluated.txt"
fi

begin "summary"
"$PYTHON" "$here/summary.py" "--folder=$output" "--run=$folder" "--data=$data_path" "--seconds=$SECONDS"
