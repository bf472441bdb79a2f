# SPDX-License-Identifier: Apache-2.0
"""How ranks start: one process or many, on one server or several, and the result file after them."""
