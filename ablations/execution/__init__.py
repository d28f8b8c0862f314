"""From cells to outcomes: what is to be trained, for how long, and the processes that train it."""
