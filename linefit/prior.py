"""How the lab draws a line and its points, in numbers. The images are in `linefit.images`."""

from typing import Any, Literal

SLOPE_RANGE = 10  # dx and dy are integers in [-SLOPE_RANGE, SLOPE_RANGE)
INTERCEPT_RANGE = 20  # c is an integer in [-INTERCEPT_RANGE, INTERCEPT_RANGE)
POINTS = 20  # columns drawn per image, with replacement
MIN_LIT = 3  # an image with fewer lit pixels is drawn anew, line and all

# Of the plane of slope and intercept: all that the lab draws, the quadrant that may be held out, and the rest.
Region = Literal["all", "quadrant", "without_quadrant"]


def in_quadrant(slope: Any, intercept: Any) -> Any:
    """Whether lines rise and start above 0, of numbers or arrays.

    Without them a net still sees every slope and every intercept of the lab's, but some never together. Source: the
    quadrant split of Liu et al., "An intriguing failing of convolutional neural networks", 2018, section 3.
    """
    return (slope > 0) & (intercept > 0)


def in_region(region: Region, slope: Any, intercept: Any) -> Any:
    """Whether lines are of a region, of arrays."""
    inside = in_quadrant(slope, intercept)
    return {"all": inside | True, "quadrant": inside, "without_quadrant": ~inside}[region]
