"""Compiled kernels of delta maps. They take arrays and tensors and know nothing of delta maps."""
