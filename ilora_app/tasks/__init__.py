"""What is learned: models, data and local training. Knows nothing of a federation."""
