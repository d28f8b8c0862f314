"""The random streams of the lab's images, compiled: MT19937 as in torch's CPU generator, and what is drawn of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from linefit.prior import INTERCEPT_RANGE, MIN_LIT, POINTS, SLOPE_RANGE, in_quadrant

# An attempt at an image takes dx, dy, c and a (POINTS, 2) block; the lab overwrites its column 1.
ATTEMPT_WORDS, USED_WORDS = 3 + 2 * POINTS, 3 + POINTS

STATE_WORDS, MIDDLE_WORD = 624, 397  # n and m of MT19937
# So many attempts can be read from a state before words that the twist has yet to make are needed.
ATTEMPTS_PER_STATE = (STATE_WORDS - MIDDLE_WORD) // ATTEMPT_WORDS

LANES = 32  # streams seeded side by side: as many as fill the registers, with states that stay in the cache

Words = npt.NDArray[np.uint32]
Pixels = npt.NDArray[np.bool_]

_in_quadrant = njit(cache=True, nogil=True)(in_quadrant)


@njit(cache=True, nogil=True)
def draw(
    seeds: Words,
    pixels: Pixels,
    params: npt.NDArray[np.float32],
    inside: bool,
    outside: bool,
) -> None:
    """Draw an image for each of the seeds `(n,)` into zeroed `pixels` and `params`.

    Lines in the quadrant (`linefit.prior`) are drawn if `inside`, the others if `outside`; one of both must be true.
    Streams go `LANES` at a time, each word of all of them before the next one: what a processor has vectors for.
    """
    states = np.empty((STATE_WORDS, LANES), np.uint32)
    words = np.empty((USED_WORDS, LANES), np.uint32)
    for start in range(0, len(seeds), LANES):
        todo = np.arange(start, min(start + LANES, len(seeds)))
        _seed(seeds[start : start + LANES], states)
        attempt = 0
        while len(todo):
            if attempt == ATTEMPTS_PER_STATE:
                _advance(states, attempt * ATTEMPT_WORDS)
                attempt = 0
            _fill_words(states, attempt * ATTEMPT_WORDS, words)
            attempt += 1
            failed = 0
            for image in todo:
                if not _attempt(
                    words[:, image - start], pixels[image], params[image], inside, outside
                ):
                    todo[failed] = image
                    failed += 1
            todo = todo[:failed]


@njit(cache=True, nogil=True)
def _seed(seeds: Words, states: Words) -> None:
    """The states `(624, LANES)` of streams with these seeds, at most `LANES` (init_genrand of MT19937)."""
    states[0] = 0
    states[0, : len(seeds)] = seeds
    for word in range(1, STATE_WORDS):
        for lane in range(LANES):
            last = states[word - 1, lane]
            mixed = np.uint32(last ^ (last >> np.uint32(30)))
            states[word, lane] = np.uint32(1_812_433_253) * mixed + np.uint32(word)


@njit(cache=True, nogil=True)
def _twist(states: Words, word: int, lane: int) -> np.uint32:
    """The recurrence of MT19937: word k + 624 of a stream from words k, k + 1 and k + 397."""
    following = states[word + 1, lane]
    mixed = (states[word, lane] & np.uint32(0x80000000)) | (following & np.uint32(0x7FFFFFFF))
    odd = (following & np.uint32(1)) * np.uint32(0x9908B0DF)
    return np.uint32(states[word + MIDDLE_WORD, lane] ^ (mixed >> np.uint32(1)) ^ odd)


@njit(cache=True, nogil=True)
def _advance(states: Words, count: int) -> None:
    """Move states `count` words on, for `count` below 228."""
    twisted = np.empty((count, LANES), np.uint32)
    for word in range(count):
        for lane in range(LANES):
            twisted[word, lane] = _twist(states, word, lane)
    states[:-count] = states[count:].copy()
    states[-count:] = twisted


@njit(cache=True, nogil=True)
def _fill_words(states: Words, first: int, words: Words) -> None:
    """The `words` `(USED_WORDS, LANES)` of an attempt that begins with word `first`, below 228 - ATTEMPT_WORDS."""
    for used in range(USED_WORDS):
        word = first + (used if used < 3 else 2 * used - 3)
        for lane in range(LANES):
            mixed = _twist(states, word, lane)
            mixed = np.uint32(mixed ^ (mixed >> np.uint32(11)))
            mixed = np.uint32(mixed ^ ((mixed << np.uint32(7)) & np.uint32(0x9D2C5680)))
            mixed = np.uint32(mixed ^ ((mixed << np.uint32(15)) & np.uint32(0xEFC60000)))
            words[used, lane] = mixed ^ (mixed >> np.uint32(18))


@njit(cache=True, nogil=True)
def _attempt(
    words: Words, pixels: Pixels, params: npt.NDArray[np.float32], inside: bool, outside: bool
) -> bool:
    """Draw an image from its used words. If too few pixels are lit, or the line is none of those that are asked for,
    leave it black and return False."""
    # torch takes a word modulo the range, then adds the lower end.
    dx = np.float32(words[0] % np.uint32(2 * SLOPE_RANGE)) - np.float32(SLOPE_RANGE)
    dy = np.float32(words[1] % np.uint32(2 * SLOPE_RANGE)) - np.float32(SLOPE_RANGE)
    c = np.float32(words[2] % np.uint32(2 * INTERCEPT_RANGE)) - np.float32(INTERCEPT_RANGE)
    if dx == 0:  # every y is infinite or NaN, never visible
        return False
    dim, lit = len(pixels), 0
    params[0], params[1] = dy / dx, c
    if not (inside if _in_quadrant(params[0], params[1]) else outside):
        return False
    for word in words[3:]:
        column = word % np.uint32(dim)
        y = np.rint(params[0] * np.float32(column) + c)
        if 0 < y < dim and not pixels[dim - int(y), column]:
            pixels[dim - int(y), column] = True
            lit += 1
    if lit < MIN_LIT:
        pixels[:] = False
    return lit >= MIN_LIT
