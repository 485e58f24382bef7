"""What ``ilora doctor`` finds: a name, a state, what is, and what to do."""

from dataclasses import dataclass

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what was looked at.
        state: ok, warning or problem.
        found: what is.
        advice: what to do; empty where all is well.

    """

    name: str
    state: str
    found: str
    advice: str = ""
