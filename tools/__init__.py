# SPDX-License-Identifier: Apache-2.0
"""Programs above the models: they convert annotations, compare results, show people in the browser."""
