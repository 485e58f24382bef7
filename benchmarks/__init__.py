"""Programs that measure the project, each with its command in its first lines."""
