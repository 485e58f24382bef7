"""Run-config keys of what is kept for later, and of what replies may be."""

from dataclasses import dataclass

from ilora_app.options import at_least, option


@dataclass(frozen=True)
class KeepingSettings:
    """Checkpoints."""

    resume: str = option(
        "",
        "Go on with an earlier run after its last finished round: latest, or its run "
        "folder; empty starts anew. Latest is the run in output-dir, or of those under "
        "~/.ilora/runs the newest of the same configuration.",
    )
    keep_checkpoints: int = option(
        2,
        "So many checkpoints of the newest rounds stay in the run folder, and nodes "
        "keep their own state of these rounds; 0 writes none.",
        check=at_least(0),
    )
