"""The command ``ilora``."""

import typer

from ilora_app.cli.compare import compare
from ilora_app.cli.export import export
from ilora_app.cli.keys import keys
from ilora_app.cli.predict import predict
from ilora_app.cli.report import report

app = typer.Typer(
    name="ilora",
    help="Federated LoRA for clients of unequal rank.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(compare)
app.command()(keys)
app.command()(export)
app.command()(predict)
app.command()(report)


@app.callback()
def main() -> None:
    """Federated LoRA for clients of unequal rank."""
