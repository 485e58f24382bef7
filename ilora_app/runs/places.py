"""Where runs lie, and names of files in them; imports nothing that takes time."""

RUNS = "~/.ilora/runs"
"""Where runs lie that name no folder of their own."""

CONFIG, EVENTS, METRICS = "config.toml", "events.jsonl", "metrics.csv"
