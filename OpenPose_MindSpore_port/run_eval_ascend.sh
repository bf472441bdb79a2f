#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The script of the same name in scripts/, for those who type it here.
exec sh "$(dirname "$0")/scripts/run_eval_ascend.sh" "$@"
