"""The client's engine: its rank, its data, and its state between rounds."""
