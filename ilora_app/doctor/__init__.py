"""Looks at what a run needs, and says what to do about what is amiss."""
