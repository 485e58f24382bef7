"""Check the config, meet the nodes, run the rounds, save the model."""

from collections.abc import Sequence

from flwr.app import Context
from flwr.serverapp import Grid

from ilora_app.federation.waiting import FederationError, UntrainedError
from ilora_app.runs.lock import BusyError
from ilora_app.runs.writing import PlaceError
from ilora_app.server import enrolment, preflight, waking
from ilora_app.server.logs import show_plainly
from ilora_app.server.run import Server
from ilora_app.settings.parsing import ConfigError
from ilora_app.tasks.libraries import quiet_libraries

quiet_libraries()
show_plainly(ConfigError, FederationError, BusyError, PlaceError, UntrainedError)


def run(grid: Grid, context: Context, woken: Sequence[str] = ()) -> None:
    """Run the federation.

    Args:
        grid: to the nodes.
        context: with the run config.
        woken: messages that nodes may still be answering.

    Raises:
        ConfigError: mistakes in the run config, before any node is asked.
        FederationError: no node can take part.
        BusyError: another server is at work in the run folder.
        PlaceError: there is no room for the run folder, or for the model.
        UntrainedError: no round changed the model.

    """
    prepared = preflight.prepare(context.run_config)
    waking.settle(grid, woken, prepared.settings.run.round_timeout)
    membership = enrolment.meet(grid, prepared)
    Server(prepared, membership, grid, context.run_id).run()
