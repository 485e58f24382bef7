"""Starts ``flwr run``, with a SuperLink of its own where none is given."""
