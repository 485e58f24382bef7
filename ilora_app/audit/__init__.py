"""What a model tells of the rows that it was trained on."""
