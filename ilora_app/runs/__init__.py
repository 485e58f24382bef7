"""What a run leaves behind: events, metrics, adapters."""
