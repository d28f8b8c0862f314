"""Legal combinations of all factors of a net in which every two levels that can meet do meet."""

import functools
import itertools
import random

from linefit.levels import (
    ARCHITECTURES,
    COORDINATES,
    HEADS,
    NEUTRAL,
    PADDINGS,
    PLACEMENTS,
    POOLINGS,
    problems,
)

FACTORS = {
    "architecture": tuple(ARCHITECTURES),
    "coordinates": tuple(COORDINATES),
    "pooling": tuple(POOLINGS),
    "placement": tuple(PLACEMENTS),
    "head": (*(head for head in HEADS), "least_squares(residual=true)"),
    "padding": tuple(PADDINGS),
}
ATTEMPTS = 100  # random completions of a pair before it counts as impossible


@functools.cache
def combinations(width):
    """A tuple of dictionaries, factor to level; the same at every call."""
    draw = random.Random(0)
    # Nets of their own go with no other factor.
    own = [{**NEUTRAL, "architecture": name} for name in ARCHITECTURES]
    chosen, met = [levels for levels in own if not problems(levels)], set()
    for pair in _pairs(FACTORS):
        if pair in met:
            continue
        for _ in range(ATTEMPTS):
            levels = {factor: draw.choice(levels) for factor, levels in FACTORS.items()}
            levels |= {factor: FACTORS[factor][i] for factor, i in pair}
            levels["width"] = width
            if not problems(levels):
                chosen.append(levels)
                met.update(_pairs({factor: [levels[factor]] for factor in FACTORS}))
                break
    return tuple(chosen)


def _pairs(levels):
    """Pairs of (factor, position of the level in FACTORS) of two factors."""
    for (one, ones), (other, others) in itertools.combinations(levels.items(), 2):
        for a, b in itertools.product(ones, others):
            yield (one, FACTORS[one].index(a)), (other, FACTORS[other].index(b))
