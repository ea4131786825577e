"""Student's t distribution for an integer number of degrees of freedom, in closed form."""

from __future__ import annotations

import math
from functools import cache


def central_probability(t: float, degrees: int) -> float:
    """The probability ``P(|T| <= |t|)``.

    With ``a = atan(|t| / sqrt(degrees))`` and ``c = cos(a)``: for even degrees
    ``sin(a) * (1 + 1/2 c^2 + (1*3)/(2*4) c^4 + ... up to c^(degrees-2))``, for odd ones
    ``2/pi * (a + sin(a) * (c + 2/3 c^3 + (2*4)/(3*5) c^5 + ... up to c^(degrees-2)))``.

    Args:
        t: any number, also infinite.
        degrees: degrees of freedom, >= 1.

    Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.3 and 26.7.4.

    Example:
        >>> round(central_probability(2.262157, 9), 4)
        0.95
    """
    angle = math.atan(abs(t) / math.sqrt(degrees))
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (power + 1) / (power + 2)
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


@cache
def critical_value(probability: float, degrees: int) -> float:
    """The t with ``P(|T| <= t) = probability``, by bisection.

    Args:
        probability: above 0 and below 1.
        degrees: degrees of freedom, >= 1.

    Example:
        >>> round(critical_value(0.95, 9), 4)
        2.2622
    """
    low, high = 0.0, 1.0
    while central_probability(high, degrees) < probability:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        if central_probability(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return high
