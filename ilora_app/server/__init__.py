"""One run of the ServerApp, from the checks before it to what it leaves behind."""
