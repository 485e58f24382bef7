"""Looks at data before a run: what it holds, what it is worth, what to set."""
