"""Compares the strategies: the same jobs for each, their results, and a report."""
