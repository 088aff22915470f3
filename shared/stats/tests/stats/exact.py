"""Statistics by exact arithmetic: an oracle that shares nothing with what it checks.

usage: exact.py FILE    a JSON list of windows, each a list of the bits of numbers

Prints a JSON list: for each window count, NaNs, and the bits of minimum, maximum, mean, standard deviation, quartiles,
first and last.
"""

import json
import math
import statistics
import struct
import sys
from fractions import Fraction


def root(square):
    """Of a fraction, rounded once."""
    if square == 0:
        return 0.0
    scale = 4 ** max(0, 120 - (square.numerator.bit_length() - square.denominator.bit_length()) // 2)
    return float(Fraction(math.isqrt(int(square * scale)), math.isqrt(scale)))


def summary(window):
    values = [value for value in window if not math.isnan(value)]
    result = dict(count=len(values), nan_count=len(window) - len(values))
    if not values:
        return result
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    result |= dict(min=min(values), max=max(values), first=values[0], last=values[-1], q1=quartiles[0], q3=quartiles[2])
    result["median"] = statistics.median(values)
    if all(map(math.isfinite, values)):
        exact = [Fraction(value) for value in values]
        mean = sum(exact) / len(exact)
        result["mean"] = float(mean)
        if len(exact) > 1:
            result["stdev"] = root(sum((value - mean) ** 2 for value in exact) / (len(exact) - 1))
    return result


def number(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def bits(value):
    return value if isinstance(value, int) else struct.unpack("<Q", struct.pack("<d", value))[0]


with open(sys.argv[1]) as file:
    windows = [[number(value) for value in window] for window in json.load(file)]
print(json.dumps([{name: bits(value) for name, value in summary(window).items()} for window in windows]))
