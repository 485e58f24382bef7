"""What a run cost: megabytes and seconds, by part and by round."""

from ilora_app.report import charts, look, pieces
from ilora_app.report.reading import RunData
from ilora_app.runs.traffic import DOWN, PURPOSES, UP

BYTES = tuple(
    (f"{purpose}, {where}", f"bytes_{way}{suffix}")
    for purpose, suffix in PURPOSES.items()
    for where, way in (("to the clients", DOWN), ("from the clients", UP))
)
SECONDS = (
    ("training, with the way there and back", "seconds_train"),
    ("aggregation", "seconds_aggregate"),
    ("solving the head", "seconds_head"),
    ("evaluation, clients and server", "seconds_evaluate"),
    ("training on one client, mean", "seconds_client_mean"),
)


def cost(run: RunData) -> str:
    """Megabytes and seconds by part."""
    trained = max(sum(row["round"] > 0 for row in run.rounds), 1)
    rows = [
        [f"MB, {name}", f"{run.total(key) / 1e6:.3f}", f"{each / 1e6:.3f}"]
        for name, key in BYTES
        for each in [run.total(key) / trained]
    ]
    rows += [
        [f"s, {name}", f"{run.total(key):.1f}", f"{run.total(key) / trained:.2f}"]
        for name, key in SECONDS
    ]
    heads = ["part", "all rounds", "a round"]
    tables = [
        look.table(heads, [("parts", rows[start : start + len(BYTES)])])
        for start in (0, len(BYTES))
    ]
    return pieces.charts(_traffic(run), _seconds(run), *tables)


def _traffic(run: RunData) -> str:
    """Draw megabytes by round and part."""
    parts: list[tuple[str, ...]] = [
        ("training, down", "bytes_down"),
        ("training, up", "bytes_up"),
        ("evaluation, down", "bytes_down_evaluate"),
        ("evaluation, up", "bytes_up_evaluate"),
        ("solving the head, down", "bytes_down_head"),
        ("solving the head, up", "bytes_up_head"),
        ("secure aggregation", "bytes_down_secure", "bytes_up_secure"),
    ]
    return charts.bars(run, "Megabytes by round, all clients", "MB", parts, 1e-6)


def _seconds(run: RunData) -> str:
    """Draw seconds by round and part."""
    parts = [
        ("training", "seconds_train"),
        ("aggregation", "seconds_aggregate"),
        ("solving the head", "seconds_head"),
        ("evaluation", "seconds_evaluate"),
    ]
    return charts.bars(run, "Seconds by round", "s", parts, 1.0)
