"""Backbones, their weights, and the features of images."""
