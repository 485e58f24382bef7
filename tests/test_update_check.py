"""Nothing that is started calls Flower's makers, to count or to look for updates."""

import re

import pytest
from flwr.supercore.constant import FLWR_DISABLE_UPDATE_CHECK

from tests.deployment import ROOT

PLACES = ("deploy", "docker", "docs", "ilora_app", "benchmarks", "tests")
OFF = r"\W+(?:value\W+)?"
"""What stands between a variable and its value in any of the files."""
TELEMETRY = re.compile(rf"FLWR_TELEMETRY_ENABLED{OFF}0")
UPDATES = re.compile(rf"{FLWR_DISABLE_UPDATE_CHECK}{OFF}1")


def texts():
    for place in PLACES:
        for file in sorted((ROOT / place).rglob("*")):
            if file.suffix != ".pyc" and file.is_file():
                yield file.relative_to(ROOT), file.read_text(errors="ignore")


SILENT = {str(file): text for file, text in texts() if TELEMETRY.search(text)}


def test_deployments_of_each_kind_are_among_the_files():
    for name in (
        "docker/Dockerfile", "docker/compose.node.yml", "docs/deploy.md",
        "deploy/systemd/ilora-supernode@.service", "ilora_app/launch/superlink.py",
        "deploy/kubernetes/supernode/supernode.yaml",
    ):  # fmt: skip
        assert name in SILENT


@pytest.mark.parametrize("name", SILENT)
def test_where_telemetry_is_off_the_look_for_updates_is(name):
    text = SILENT[name]
    assert len(UPDATES.findall(text)) == len(TELEMETRY.findall(text))
