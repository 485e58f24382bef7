"""The ServerApp: check the config, meet the nodes, run the rounds, save the model."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from ilora_app.server.waking import wake

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation; raises what ``ilora_app.server.main.run`` raises."""
    woken = wake(grid)
    # It takes seconds, in which nodes of a simulation import what they need.
    from ilora_app.server.main import run

    run(grid, context, woken)
