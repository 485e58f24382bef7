"""Names beside a panel, each tied to the end of its line; none hides another."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

_GREY = "#767676"


def label_ends(
    axes: Axes,
    ends: Mapping[str, tuple[float, float]],
    colours: Mapping[str, str],
    ink: str = "",
    room: float = 0.045,
) -> None:
    """Write the name of each line right of the panel, the highest line first.

    Args:
        axes: with all lines drawn.
        ends: (x, y) of the end of each line, by name.
        colours: of names; all others are grey.
        ink: of all text, with the colours left to the ties.
        room: height of a name, as part of the panel's.

    """
    low, high = axes.get_ylim()
    names = sorted(ends, key=lambda name: ends[name][1])
    wanted = [(ends[name][1] - low) / (high - low) for name in names]
    for name, place in zip(names, spread(wanted, room), strict=True):
        colour = colours.get(name, _GREY)
        axes.annotate(
            name,
            xy=ends[name],
            xytext=(1.06, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            color=ink or colour,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "alpha": 0.8 if name in colours else 0.4,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 1,
            },
        )


def spread(wanted: Sequence[float], most: float = 0.045) -> list[float]:
    """Move places between 0 and 1 apart, so that each has the room of a name.

    Args:
        wanted: in rising order.
        most: room of a name, where there is enough for all.

    """
    if not wanted:
        return []
    room = min(1 / len(wanted), most)
    found: list[float] = []
    for place in wanted:
        found.append(max(place, found[-1] + room) if found else max(place, room / 2))
    above = 1 + room / 2
    for i in reversed(range(len(found))):
        found[i] = above = min(found[i], above - room)
    return found
