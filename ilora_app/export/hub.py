"""Uploads an exported folder to the Hugging Face hub."""

from pathlib import Path

import httpx
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ilora_app.export.places import ReleaseError


def check(hub_id: str) -> None:
    """See that an upload can begin, before the work of an export.

    Raises:
        ReleaseError: a name that the hub does not take, nobody is logged in, the hub
            is not reached, or the model is there already.

    """
    if hub_id.count("/") != 1:
        raise ReleaseError(f"--push {hub_id!r}: expected OWNER/NAME")
    try:
        api = HfApi()
        api.whoami()
        there = api.repo_exists(hub_id)
    except (HFValidationError, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise ReleaseError(_explained(hub_id, error)) from None
    if there:
        raise ReleaseError(
            f"--push {hub_id}: it exists, and an export never writes over another: "
            "expected a new name"
        )


def push(folder: Path, hub_id: str, public: bool) -> str:
    """Upload a folder to a new repository of the hub.

    Args:
        folder: exported.
        hub_id: ``OWNER/NAME``.
        public: for everybody to see.

    Returns:
        Its address.

    Raises:
        ReleaseError: it did not work; the folder is still there.

    """
    try:
        api = HfApi()
        url = api.create_repo(hub_id, private=not public, exist_ok=False)
        api.upload_folder(
            repo_id=hub_id, folder_path=folder, commit_message="Export by ilora"
        )
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        kept = f"; {folder} is there, and whole: hf upload {hub_id} {folder}"
        raise ReleaseError(_explained(hub_id, error) + kept) from None
    return str(url)


def _explained(hub_id: str, error: Exception) -> str:
    """Say what to do about an error, without what it may quote of a request."""
    first = (str(error).splitlines() or [""])[0]
    status = getattr(getattr(error, "response", None), "status_code", None)
    name = type(error).__name__
    if isinstance(error, HFValidationError):
        return f"--push {hub_id!r}: {first}"
    if name == "LocalTokenNotFoundError" or status == 401:
        return (
            f"--push {hub_id}: not logged in to the hub: hf auth login, or set HF_TOKEN"
        )
    if status == 403:
        return f"--push {hub_id}: this login may not write there"
    if name == "OfflineModeIsEnabled":
        return f"--push {hub_id}: HF_HUB_OFFLINE is set: unset it to upload"
    if status is None:
        return f"--push {hub_id}: the hub is not reached ({name})"
    return f"--push {hub_id}: the hub answers {status} ({first})"
