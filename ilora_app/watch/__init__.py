"""Follows a run: its events, a live view in a terminal, plain lines elsewhere."""
