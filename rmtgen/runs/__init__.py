"""Runs: configuration, manifests, the run directory, and a run read back."""
