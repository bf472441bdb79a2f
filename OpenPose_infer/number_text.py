# SPDX-License-Identifier: Apache-2.0
"""Numbers as text, read and written at the speed of a disk: compiled, without Python's lock, and nothing is executed.

A number is what C's strtod takes in decimal: `-1.25e-3`. NaN, infinity, hexadecimal and everything else is refused.
NumPy's own reader is some ten times slower and holds the lock.
"""

from common.compiled import kernel, subroutine

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Characters = npt.NDArray[np.uint8]
SPACE, TAB, LINE_FEED, RETURN = 32, 9, 10, 13
PLUS, MINUS, POINT, ZERO, CAPITAL_E, SMALL_E = 43, 45, 46, 48, 69, 101
DIGITS = 9  # that tell every float32 from its neighbours
SMALLEST = 10 ** (DIGITS - 1)
MOST_DIGITS = 18  # that an int64 holds
EXACT_POWERS = np.array([10.0**power for power in range(23)])  # those that a float64 holds to the last bit
LAST_POWER = len(EXACT_POWERS) - 1
LARGEST_EXPONENT = 9999  # beyond which more digits of an exponent change nothing
LONGEST = DIGITS + 7  # characters: sign, point, e, its sign, two digits, blank


class NotNumbersError(ValueError):
    """A text that is not blank separated numbers: `token` is the first word that is none, `place` its byte."""

    def __init__(self, text: Characters, place: int) -> None:
        words = bytes(text[place : place + 60]).split()
        self.token = words[0].decode("ascii", "backslashreplace") if words else ""
        self.place = place
        super().__init__(f"{self.token!r} at byte {place} is no finite number")


def parse(text: Characters, wanted: int) -> tuple[Floats, int]:
    """Blank separated numbers in (bytes,) uint8 -> the first `wanted` as float32, and how many there are.

    Each is the float32 next to the nearest float64. Raises NotNumbersError for any other text.
    """
    numbers = np.empty(wanted, np.float32)
    found, wrong = _parse(text, numbers)
    if wrong >= 0:
        raise NotNumbersError(text, wrong)
    return numbers[:found], found


def render(numbers: Floats) -> memoryview:
    """A line of blank separated numbers; `parse` gives the same float32 back. Raises ValueError for NaN or infinity."""
    flat = np.ascontiguousarray(numbers, np.float32).reshape(-1)
    if not np.isfinite(flat).all():
        raise ValueError("NaN or infinity cannot be written")
    text = np.empty(LONGEST * len(flat) + 1, np.uint8)
    return memoryview(text)[: _render(flat, text)]


@subroutine
def _is_blank(character: int) -> bool:
    return character in (SPACE, LINE_FEED, TAB, RETURN)


@subroutine
def _whole_number(text: Characters, i: int) -> tuple[int, int]:
    """The exponent that stands at `i`, and the place behind it; the place is -1 where there is none."""
    negative = i < len(text) and text[i] == MINUS
    if i < len(text) and text[i] in (PLUS, MINUS):
        i += 1
    start, value = i, 0
    while i < len(text) and ZERO <= text[i] <= ZERO + 9:
        value = min(10 * value + (np.int64(text[i]) - ZERO), LARGEST_EXPONENT)
        i += 1
    return (-value if negative else value), (i if i > start else -1)


@subroutine
def _mantissa(text: Characters, i: int) -> tuple[int, int, int]:
    """The digits at `i` as an integer, its power of ten, and the place behind it; -1 where there are none."""
    value, power, seen, fraction = 0, 0, False, False
    while i < len(text):
        character = np.int64(text[i])
        if ZERO <= character <= ZERO + 9:
            seen = True
            kept = value < 10 ** (MOST_DIGITS - 1)
            if kept:
                value = 10 * value + (character - ZERO)
            power += (not kept) - fraction  # a digit left out counts, one behind the point divides
        elif character == POINT and not fraction:
            fraction = True
        else:
            break
        i += 1
    return value, power, (i if seen else -1)


@subroutine
def _scaled(value: float, power: int) -> float:
    """value * 10^power, correctly rounded for up to 15 digits and powers of up to 22."""
    if 0 <= power <= LAST_POWER:
        return value * EXACT_POWERS[power]
    if -LAST_POWER <= power < 0:
        return value / EXACT_POWERS[-power]
    return value * 10.0 ** np.float64(power)


@kernel
def _parse(text: Characters, numbers: Floats) -> tuple[int, int]:
    """How many numbers there are, and the byte of the first word that is none, or -1."""
    i, found = 0, 0
    while True:
        while i < len(text) and _is_blank(text[i]):
            i += 1
        if i == len(text):
            return found, -1
        start = i
        if text[i] in (PLUS, MINUS):
            i += 1
        value, power, i = _mantissa(text, i)
        if i >= 0 and i < len(text) and text[i] in (SMALL_E, CAPITAL_E):
            exponent, i = _whole_number(text, i + 1)
            power += exponent
        if i < 0 or (i < len(text) and not _is_blank(text[i])):
            return found, start
        number = np.float32(_scaled(np.float64(value), power))
        if not np.isfinite(number):
            return found, start
        if found < len(numbers):
            numbers[found] = -number if text[start] == MINUS else number
        found += 1


@subroutine
def _decimal(magnitude: float) -> tuple[int, int]:
    """A positive float32 as `DIGITS` digits d, and the power of ten p of the first: d = magnitude * 10^(DIGITS-1-p)."""
    power = np.int64(np.floor(np.log10(magnitude)))
    while True:
        scaled = _scaled(magnitude, DIGITS - 1 - power)
        digits = np.int64(np.rint(scaled))
        if digits < SMALLEST:
            power -= 1
        elif digits >= 10 * SMALLEST:
            power += 1
        else:
            return digits, power


@subroutine
def _put_digits(text: Characters, i: int, digits: int, point: bool) -> int:
    """Writes an integer at `i`, with a point behind its first digit; returns the place behind it."""
    divisor = 1
    while digits // divisor >= 10:
        divisor *= 10
    first = True
    while divisor > 0:
        text[i] = ZERO + digits // divisor % 10
        i += 1
        if first and point and divisor > 1:
            text[i] = POINT
            i += 1
        first = False
        divisor //= 10
    return i


@kernel
def _render(numbers: Floats, text: Characters) -> int:
    """Writes all numbers and a line's end into `text`; returns how many bytes that are."""
    i = 0
    for number in numbers:
        if number < 0 or (number == 0 and np.signbit(number)):
            text[i] = MINUS
            i += 1
        digits, power = (0, 0) if number == 0 else _decimal(np.float64(abs(number)))
        while digits > 0 and digits % 10 == 0:
            digits //= 10
        i = _put_digits(text, i, digits, True)
        if power != 0:
            text[i] = SMALL_E
            i += 1
            if power < 0:
                text[i] = MINUS
                i += 1
            i = _put_digits(text, i, abs(power), False)
        text[i] = SPACE
        i += 1
    text[max(0, i - 1)] = LINE_FEED
    return max(1, i)
