"""Where the app itself lies, and its presets; imports nothing that takes time."""

from pathlib import Path

PACKAGE = Path(__file__).parent.parent
ROOT = PACKAGE.parent
"""Folder that the package lies in: the repository, or site-packages."""

CONFIGS = next(
    # What a wheel carries comes first: a configs/ in site-packages is of another.
    (folder for folder in (PACKAGE / "configs", ROOT / "configs") if folder.is_dir()),
    ROOT / "configs",
)
"""Presets: of the checked-out app, or those that its wheel carries."""


def presets(folder: Path = CONFIGS) -> list[str]:
    """Names of the presets that come with the app, or lie in a folder."""
    return sorted(file.stem for file in folder.glob("*.toml"))
