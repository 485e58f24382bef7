"""The settings of a strategy as a tree, for the log."""

from ilora_app.corrections import Correction
from ilora_app.federation.participation import Participation
from ilora_app.methods import Method


def tree(
    participation: Participation,
    drift_correction: Correction | None,
    method: Method,
) -> list[str]:
    """Lay out settings, a line each.

    Args:
        participation: of the strategy.
        drift_correction: its server half.
        method: that is run.

    """
    p = participation
    lines = [f"{name}: {value}" for name, value in method.details().items()]
    return [
        "├──> Sampling:",
        f"│\t├── Fraction: train ({p.fraction_train:.2f}) | evaluate "
        f"({p.fraction_evaluate:.2f})",
        f"│\t├── Minimum nodes: train ({p.min_train_nodes}) | evaluate "
        f"({p.min_evaluate_nodes})",
        f"│\t└── Minimum available nodes: {p.min_available_nodes}",
        f"├──> Drift correction: {drift_correction or 'none'}",
        f"└──> {type(method).__name__}{':' if lines else ''}",
        *(f"\t├── {line}" for line in lines[:-1]),
        *(f"\t└── {line}" for line in lines[-1:]),
    ]
