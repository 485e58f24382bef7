"""A federation that does nothing."""
