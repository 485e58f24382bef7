"""A federation that loads everything anew in every message."""
