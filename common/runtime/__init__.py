# SPDX-License-Identifier: Apache-2.0
"""A network in any format, ready to run."""
