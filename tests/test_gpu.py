"""Whole federations on a GPU: nothing of a round mixes tensors of two devices."""

import pytest
import torch

from ilora_app.methods import METHODS
from tests import local_run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

STARTS = {
    **{name: {"strategy": name} for name in METHODS},
    "fedit from qr": {"strategy": "fedit", "initialisation": "qr"},
    "ilora as published": {
        "strategy": "ilora",
        "cut": "product",
        "decomposition": "qr",
        "initialisation": "qr",
    },
}


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("name", STARTS)
def test_every_reply_of_three_rounds_is_used(name, together, run_config):
    rounds = {"num-server-rounds": 3, "clients-per-batch": together}
    _, _, server = local_run.run(run_config | rounds | STARTS[name])
    for row in server.folder.rows[1:]:
        assert row["clients"] == row["asked"]
