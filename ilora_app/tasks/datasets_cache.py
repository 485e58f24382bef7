"""Where ``datasets`` keeps what it has read of files: the rows, as they are."""

import os
from contextlib import suppress
from pathlib import Path


def folder() -> str | None:
    """A folder of this user's alone in the cache of ``datasets``, made here.

    Rows of files that only this user may read would lie open in the cache itself.

    Returns:
        The folder; None where it cannot be made, and ``datasets`` says what is wrong.

    """
    from datasets import config

    place = Path(config.HF_DATASETS_CACHE) / f"ilora-{os.getuid()}"
    with suppress(OSError):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not place.is_symlink() and place.stat().st_uid == os.getuid():
            place.chmod(0o700)
            return str(place)
    return None
