import typer

app = typer.Typer(help="(being built)", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """(being built)"""


@app.command()
def show() -> None:
    """(being built)"""
