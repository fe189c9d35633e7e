"""Floating-point numbers as Java 17 prints them.

Java before 19 does not always print the fewest digits that tell a number apart: it makes at least two in
the exponent form, it prints large whole numbers digit by digit down to the last bit, and it stops by a
test that takes both neighbours to be equally far away. The digits are worked out here in exact integers
in that manner. This is for numbers of the exponent form; the plain form has the fewest digits.
"""

from __future__ import annotations

import math
import struct

_FIVES = 26
_LARGEST_WHOLE = 62  # the highest power of two that goes through a 64-bit integer


def java_float(value: float, single: bool) -> str:
    """The text of one number; `single` for a float, else a double."""
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    sign = "-" if math.copysign(1, value) < 0 else ""
    digits, power = _digits(abs(value), single)
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{power}"


def _digits(value: float, single: bool) -> tuple[str, int]:
    """Decimal digits and the power of ten of the first of them."""
    fraction, binary, bits = _parts(value, single)
    if binary <= _LARGEST_WHOLE and fraction.bit_length() <= binary + 1:
        return _whole(fraction << (binary + 1 - fraction.bit_length()), binary, bits)
    return _divided(fraction, binary, bits)


def _parts(value: float, single: bool) -> tuple[int, int, int]:
    """An odd significand, the power of two of its highest bit, and how many bits count."""
    width, bias, form = (23, 127, "<fI") if single else (52, 1023, "<dQ")
    (raw,) = struct.unpack(f"<{form[2]}", struct.pack(f"<{form[1]}", value))
    exponent, fraction = raw >> width, raw & ((1 << width) - 1)
    bits = width + 1 if exponent else fraction.bit_length()
    binary = exponent - bias if exponent else fraction.bit_length() - width - bias
    fraction |= (1 << width) if exponent else 0
    return fraction >> ((fraction & -fraction).bit_length() - 1), binary, bits


def _whole(number: int, binary: int, bits: int) -> tuple[str, int]:
    """A whole number: the decimal digits that lie below its last bit are rounded away."""
    spare = binary - bits - 1
    unit = 10 ** int(spare * math.log10(2)) if spare > 1 else 1
    text = str((number + unit // 2) // unit * unit)
    return text.rstrip("0"), len(text) - 1


def _divided(fraction: int, binary: int, bits: int) -> tuple[str, int]:
    """Digit by digit, until the rest is less than half a unit of the last bit, on either side."""
    power = _estimate(fraction, binary)
    fives, tens = max(0, -power), max(0, power)
    above2, below2 = fives + binary - fraction.bit_length() + 1, tens
    half2 = fives + binary - bits - (fraction == 1)
    lowest = min(above2, below2, half2)
    above2, below2, half2 = above2 - lowest, below2 - lowest, half2 - lowest
    width = _width(
        fraction.bit_length() + above2 + _bits_of_five(fives), below2 + 1 + _bits_of_five(tens + 1)
    )
    above, below, half = fraction * 5**fives << above2, 5**tens << below2, 5**fives << half2

    def step() -> tuple[int, bool, bool]:
        nonlocal above, half
        digit, above, half = above // below, above % below * 10, half * 10
        return digit, *_near(above, half, below * 10, width)

    digits: list[int] = []
    digit, low, high = step()
    if digit == 0 and not high:
        power -= 1
    else:
        digits.append(digit)
    low = high = False  # at least two digits
    while not (low or high):
        digit, low, high = step()
        digits.append(digit)
    tie = above * 2 - below * 10
    up = high and (not low or tie > 0 or (tie == 0 and digits[-1] % 2 == 1))
    text = str(int("".join(map(str, digits))) + up)
    return text.rstrip("0"), power + len(text) - len(digits)


def _width(above: int, below: int) -> int | None:
    """Java counts in 32 or 64 bits where that many hold the numbers, else without bounds."""
    return next((width for width in (32, 64) if max(above, below) < width), None)


def _bits_of_five(power: int) -> int:
    return 3 * power if power > _FIVES else (5**power).bit_length() if power else 0


def _near(rest: int, half: int, limit: int, width: int | None) -> tuple[bool, bool]:
    """Whether the rest is within half a unit of this digit, and of the next. In 32 or 64 bits half a unit
    may overflow, and counts as large then; the sum may overflow too, and does not count, in Java."""
    if width is None:
        return rest < half, rest + half >= limit
    half = _wrapped(half, width)
    return (True, True) if half <= 0 else (rest < half, _wrapped(rest + half, width) > limit)


def _wrapped(value: int, width: int) -> int:
    half = 1 << (width - 1)
    return (value + half) % (2 * half) - half


def _estimate(fraction: int, binary: int) -> int:
    """The power of ten, or one too many."""
    scaled = fraction / (1 << (fraction.bit_length() - 1))
    return math.floor((scaled - 1.5) * 0.289529654 + 0.176091259 + binary * 0.301029995663981)
