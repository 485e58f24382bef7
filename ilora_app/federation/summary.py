"""The settings of a strategy as a tree, for the log."""

from collections.abc import Mapping

from ilora_app.federation.participation import Participation


def tree(
    participation: Participation,
    drift_correction: str,
    method: str,
    details: Mapping[str, object],
) -> list[str]:
    """Lay out settings, a line each.

    Args:
        participation: of the strategy.
        drift_correction: in words.
        method: its name.
        details: settings of the method.

    """
    p = participation
    lines = [f"{name}: {value}" for name, value in details.items()]
    return [
        "├──> Sampling:",
        f"│\t├── Fraction: train ({p.fraction_train:.2f}) | evaluate "
        f"({p.fraction_evaluate:.2f})",
        f"│\t├── Minimum nodes: train ({p.min_train_nodes}) | evaluate "
        f"({p.min_evaluate_nodes})",
        f"│\t└── Minimum available nodes: {p.min_available_nodes}",
        f"├──> Drift correction: {drift_correction}",
        f"└──> {method}{':' if lines else ''}",
        *(f"\t├── {line}" for line in lines[:-1]),
        *(f"\t└── {line}" for line in lines[-1:]),
    ]
