"""Flower app and nodes of `python -m benchmarks.server`."""
