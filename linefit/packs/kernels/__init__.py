"""The sparse arithmetic of a pack on plain tensors, in two sets of kernels: `plain` in torch, `fused` in Triton.

A *bag* is a list of rows of a table that are added up, each with a weight or 1. Convolutions add products of taps,
poolings an image's rows, backward adds gradients by site and by patch: every sum has a fixed order, so that bits
repeat, and nothing needs `index_add` and its atomics. The update of Adam is not here: torch's fused one reads and
writes every number once.
"""
