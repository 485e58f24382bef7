"""A model behind HTTP on this machine: JSON, and a page to try it."""
