"""Looks at what a run needs, and says what to do about what is amiss."""

from ilora_app.doctor.findings import Finding, examine

__all__ = ["Finding", "examine"]
