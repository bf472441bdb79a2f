#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that must hold: lint, types, tests, and one smoke job for each model directory that there is.
#
#   bash ci/test.sh
#
# All stages run, also after a failure; the summary at the end names what failed, and then the exit code is 1.
set -uo pipefail

# shellcheck source=ci/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" || exit 1
cd "$root" || exit 1
bin=$venv/bin
summary="" failures=0 stages=0
said=$(mktemp) # by pytest
trap 'rm -f "$said"' EXIT

stage() {
  local title=$1 began=$SECONDS outcome=passed
  shift
  printf '\n== %s\n' "$title"
  "$@" || outcome=FAILED
  [[ $outcome == passed ]] || failures=$((failures + 1))
  stages=$((stages + 1))
  summary+=$(printf '%-7s %4d s  %s' "$outcome" $((SECONDS - began)) "$title")$'\n'
}

shell_scripts() {
  find . \( -name '.?*' ! -name .ci -o -name build \) -prune -o \( -name '*.sh' -o -path ./.ci/run \) -type f -print0
}

check_shell() {
  shell_scripts | xargs -0 "$bin/shellcheck" --external-sources --source-path=SCRIPTDIR
}

# Most tests start programs and wait for them: half as many again as there are cores, at most 8, each on one thread.
run_tests() {
  local workers
  workers=$("$PYTHON" -c 'import os; print(min(8, (os.cpu_count() or 1) * 3 // 2))')
  OMP_NUM_THREADS=1 "$PYTHON" -m pytest -n "$workers" --dist=worksteal -m "not slow and not npu" | tee "$said"
}

# Trains, evaluates and predicts in a copy of the directory that has only common/ beside it.
smoke_job() {
  local copy status=0
  copy=$(mktemp -d)
  "$PYTHON" ci/alone.py "$1" "$copy" && bash "$copy/$1/test/smoke.sh" || status=$?
  rm -rf "$copy"
  return "$status"
}

model_directories() {
  local marker
  for marker in */train.py */modelzoo_level.txt; do
    [[ -f $marker ]] && echo "${marker%%/*}"
  done | sort -u
}

[[ $(command -v chromium chromium-browser google-chrome) ]] ||
  echo "no browser (apt-get install chromium): the tests of the page in it are skipped"
stage "ruff check" "$PYTHON" -m ruff check
stage "ruff format" "$PYTHON" -m ruff format --check
stage "types" "$PYTHON" -m mypy
stage "shellcheck" check_shell
stage "pytest" run_tests
for directory in $(model_directories); do
  stage "smoke job of $directory" smoke_job "$directory"
done
[[ ! -f ci/npu.sh ]] || stage "NPU job" bash ci/npu.sh

printf '\n%s' "$summary"
tail -n 1 "$said"
if ((failures)); then
  echo "FAILED: $failures of $stages stages, $SECONDS s"
  exit 1
fi
echo "all $stages stages passed in $SECONDS s"
