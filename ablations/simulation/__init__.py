"""Proofs by simulation of what `ablations.statistics` claims: coverage, error rates, power."""
