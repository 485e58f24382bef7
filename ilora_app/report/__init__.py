"""The report of a run: one page by itself, from what is in its folder."""
