"""``ilora supernode``: Flower's SuperNode, with its libraries loaded once."""

import typer

MISTAKE = 2


def supernode(context: typer.Context) -> None:
    """Start flower-supernode with these options, and answer messages sooner.

    Flower starts a process for every message. Here each is forked from one that has
    the libraries loaded, instead of importing them again. Nothing else differs: see
    flower-supernode --help for the options.

    Example: ilora supernode --superlink fl.example.org:9091 --root-certificates ca.crt
    """
    from ilora_app.deploy import warm

    try:
        warm.supernode(context.args)
    except warm.WarmError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(MISTAKE) from None
