"""The command ``ilora``."""

import typer

from ilora_app.cli.audit import audit
from ilora_app.cli.check import check
from ilora_app.cli.compare import compare
from ilora_app.cli.doctor import doctor
from ilora_app.cli.export import export
from ilora_app.cli.init import init
from ilora_app.cli.keys import keys
from ilora_app.cli.plain_help import PlainHelp
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
app.command(cls=PlainHelp)(init)
app.command(cls=PlainHelp)(check)
app.command(cls=PlainHelp)(run)
app.command(cls=PlainHelp)(compare)
app.add_typer(runs, name="runs")
app.command(cls=PlainHelp)(keys)
app.command(
    cls=PlainHelp,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(supernode)
app.command(cls=PlainHelp)(export)
app.command(cls=PlainHelp)(predict)
app.command(cls=PlainHelp)(serve)
app.command(cls=PlainHelp)(report)
app.command(cls=PlainHelp)(watch)
app.command(cls=PlainHelp)(audit)
app.command(cls=PlainHelp)(doctor)


@app.callback()
def main() -> None:
    """Federated LoRA for clients of unequal rank."""
