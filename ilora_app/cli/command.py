"""What all commands have in common: their help, and paths that cannot be looked at."""

import errno
from typing import Any

import click
from typer.core import TyperCommand

from ilora_app.cli.naming import MISTAKE

_OF_A_PATH = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP)


class Command(TyperCommand):
    """A command that fails with a sentence where a path is none for it.

    Help writes ``[required]``, whose bracket typer escapes where rich is installed.
    """

    def get_help(self, ctx: click.Context) -> str:
        """Help as text."""
        return super().get_help(ctx).replace("\\[", "[")

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno not in _OF_A_PATH or error.filename is None:
                raise
            named = str(error.filename)
            shown = named if len(named) <= 200 else f"{named[:200]}..."
            click.echo(f"{shown!r}: {error.strerror}", err=True)
            ctx.exit(MISTAKE)
