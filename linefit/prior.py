"""How the lab draws a line and its points, in numbers. The images are in `linefit.images`."""

SLOPE_RANGE = 10  # dx and dy are integers in [-SLOPE_RANGE, SLOPE_RANGE)
INTERCEPT_RANGE = 20  # c is an integer in [-INTERCEPT_RANGE, INTERCEPT_RANGE)
POINTS = 20  # columns drawn per image, with replacement
MIN_LIT = 3  # an image with fewer lit pixels is drawn anew, line and all
