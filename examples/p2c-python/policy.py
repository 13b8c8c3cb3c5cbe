"""The power of two choices in Python: of two endpoints drawn at random, the less loaded one. The same picks as the
built-in `p2c`, number for number."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.endpoints import Signal, count, read, weight
from wit_world.imports.request import tried

# The answer of a pick that leaves the request to the proxy, and the end of `tried`.
NONE = 0xFFFF_FFFF
MASK = 0xFFFF_FFFF_FFFF_FFFF
HALF = 0xFFFF_FFFF


class Balancer(exports.Balancer):
    def configure(self, config: str, seed: int, worker: int, workers: int) -> None:
        global rng
        unknown = list(json.loads(config))
        if unknown:
            raise Err(f"this policy has nothing to configure, not even {unknown}")
        rng = seed

    def endpoints_changed(self, now: int) -> None:
        global endpoints
        endpoints = count()

    def pick(self, now: int, hash: int, attempt: int) -> int:
        if attempt > 0:
            return pick_again()
        bits = next_number()  # Enough for both.
        first = scaled(bits & HALF, endpoints)
        second = scaled(bits >> 32, max(endpoints - 1, 0))
        if endpoints < 2:
            return NONE if endpoints == 0 else 0
        return less_loaded(first, second + (second >= first))


# Every call gets an object of its own, so what lasts is the module's.
rng = 0
endpoints = 0


def pick_again() -> int:
    """A retry: where the request has not been yet."""
    been = (tried(nth) for nth in range(8))
    gone = {index for index in been if index < endpoints}
    left = endpoints - len(gone)
    if left == 0:
        return NONE
    first = past(below(left), gone)
    if left == 1:
        return first
    return less_loaded(first, past(below(left - 1), gone | {first}))


def past(index: int, gone: set[int]) -> int:
    """A place among what is left, moved past what is gone."""
    for other in sorted(gone):
        if other > index:
            break
        index += 1
    return index


def less_loaded(a: int, b: int) -> int:
    """In flight with this request, for the weight, compared as fractions."""
    load_a = (read(a, Signal.IN_FLIGHT) + 1) * weight(b)
    load_b = (read(b, Signal.IN_FLIGHT) + 1) * weight(a)
    return a if load_a <= load_b else b


def next_number() -> int:
    """SplitMix64."""
    global rng
    rng = (rng + 0x9E37_79B9_7F4A_7C15) & MASK
    z = ((rng ^ (rng >> 30)) * 0xBF58_476D_1CE4_E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB) & MASK
    return z ^ (z >> 31)


def scaled(bits: int, bound: int) -> int:
    """Of random bits a number below `bound`, by Lemire's multiplication."""
    return (bits * bound) >> 32


def below(bound: int) -> int:
    return scaled(next_number() & HALF, bound)
