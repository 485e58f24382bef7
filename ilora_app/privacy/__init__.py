"""Differential privacy: what a release costs, and the noise that it takes."""
