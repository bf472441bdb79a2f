#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that must hold: lint, types, and tests, with one smoke job for each model directory that there is.
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

# Many tests start programs and wait for them: two for each core, at most 8, each on one thread.
run_tests() {
  local workers
  workers=$("$PYTHON" -c 'import os; print(min(8, 2 * (os.cpu_count() or 1)))')
  OMP_NUM_THREADS=1 "$PYTHON" -m pytest -n "$workers" --dist=worksteal -m "not slow and not npu" | tee "$said"
}

[[ $(command -v chromium chromium-browser google-chrome) ]] ||
  echo "no browser (apt-get install chromium): the tests of the page in it are skipped"
stage "ruff check" "$PYTHON" -m ruff check
stage "ruff format" "$PYTHON" -m ruff format --check
stage "types" "$PYTHON" -m mypy
stage "shellcheck" check_shell
stage "pytest" run_tests
[[ ! -f ci/npu.sh ]] || stage "NPU job" bash ci/npu.sh

printf '\n%s' "$summary"
tail -n 1 "$said"
if ((failures)); then
  echo "FAILED: $failures of $stages stages, $SECONDS s"
  exit 1
fi
echo "all $stages stages passed in $SECONDS s"
