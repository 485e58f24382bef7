"""The command ``ilora``."""

import typer

from ilora_app.cli.audit import audit
from ilora_app.cli.check import check
from ilora_app.cli.command import Command
from ilora_app.cli.compare import compare
from ilora_app.cli.doctor import doctor
from ilora_app.cli.export import export
from ilora_app.cli.init import init
from ilora_app.cli.keys import keys
from ilora_app.cli.predict import predict
from ilora_app.cli.report import report
from ilora_app.cli.run import run
from ilora_app.cli.runs import runs
from ilora_app.cli.serve import serve
from ilora_app.cli.supernode import supernode
from ilora_app.cli.watch import watch

app = typer.Typer(
    name="ilora",
    help="Federated LoRA for clients of unequal rank.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help in boxes would take as long as all else
)
app.command(cls=Command)(init)
app.command(cls=Command)(check)
app.command(cls=Command)(run)
app.command(cls=Command)(compare)
app.add_typer(runs, name="runs")
app.command(cls=Command)(keys)
app.command(
    cls=Command,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(supernode)
app.command(cls=Command)(export)
app.command(cls=Command)(predict)
app.command(cls=Command)(serve)
app.command(cls=Command)(report)
app.command(cls=Command)(watch)
app.command(cls=Command)(audit)
app.command(cls=Command)(doctor)


@app.callback()
def main() -> None:
    """Federated LoRA for clients of unequal rank."""
