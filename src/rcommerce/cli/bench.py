"""rcommerce bench: what it can do here, as ratios to ceilings measured in the same run."""

import typer

app = typer.Typer(help="Benchmarks.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Benchmarks."""
