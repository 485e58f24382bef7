"""ILoRA for Flower: federated LoRA for clients of unequal rank."""
