#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by every <Model>/test/smoke.sh: a folder to work in that goes away at the end, and looks at what was left.
set -euo pipefail

tests=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
root=${tests%/*/*}
# shellcheck disable=SC2034  # the jobs call it
python=${PYTHON:-$root/.venv/bin/python}
export PYTHONPATH=$root
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# as_file PROGRAM [--flag=value ...]: a program of the directory as `python PROGRAM` starts it, typed there
as_file() {
  (cd "${tests%/*}" && env -u PYTHONPATH "$python" "$@")
}

# has FILE KEY...: a result file with these keys
has() {
  local file=$1 key
  shift
  for key in "$@"; do
    grep -q "^$key = ." "$file" || { echo "smoke: $file lacks $key" >&2 && exit 1; }
  done
}

# there FILE...: files that are not empty
there() {
  local file
  for file in "$@"; do
    [[ -s $file ]] || { echo "smoke: $file is missing or empty" >&2 && exit 1; }
  done
}
