"""Figures for documents, as SVG and PNG, in one style."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT, OURS, SEED = "#1b1f24", "#59636e", "#0b6b4f", "#b8c0c8"
SIZE = (7.2, 4.0)
MORE_ROWS = 0.55  # of the height of the first


@contextlib.contextmanager
def drawn(name: str, folder: Path, rows: int = 1) -> Iterator[tuple[list[Path], "list[Axes]"]]:
    """The files that will be written, and the axes to draw on, one a row. Raises OSError."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(
        {"font.size": 10, "svg.hashsalt": "rcommerce", "axes.edgecolor": SOFT, "text.color": INK}
    )
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    size = (SIZE[0], SIZE[1] * (1 + MORE_ROWS * (rows - 1)))
    figure, grid = pyplot.subplots(
        rows, figsize=size, layout="constrained", squeeze=False, sharex=rows > 1
    )
    axes = [row[0] for row in grid]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(visible=True, color="#e6e9ec", linewidth=0.8)
        each.set_axisbelow(True)
    paths = [folder / f"{name}.{kind}" for kind in ("svg", "png")]
    try:
        yield paths, axes
        for path in paths:
            date = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=160, metadata=date)
    finally:
        pyplot.close(figure)


def logarithmic(axes: "Axes") -> None:
    """A logarithmic scale of milliseconds, with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
