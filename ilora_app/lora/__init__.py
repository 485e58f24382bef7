"""Tensor mathematics of federated LoRA. Imports torch and nothing of the app."""
