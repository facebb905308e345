"""Kernels of images: linear in the features, and the empirical NTK."""
