"""Help of a command without the escapes that are for help in boxes."""

import click
from typer.core import TyperCommand


class PlainHelp(TyperCommand):
    """Writes ``[required]``, whose bracket typer escapes where rich is installed."""

    def get_help(self, ctx: click.Context) -> str:
        """Help as text."""
        return super().get_help(ctx).replace("\\[", "[")
