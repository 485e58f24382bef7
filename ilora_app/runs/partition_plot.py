"""Who has which classes: a picture, by flwr-datasets' own plot."""

from pathlib import Path

import matplotlib

matplotlib.use("agg")

from flwr_datasets.partitioner import Partitioner
from flwr_datasets.visualization import plot_label_distributions
from matplotlib import pyplot


def draw(dealer: Partitioner, column: str, clients: int, file: Path) -> None:
    """Draw how often each value of a column falls to each client.

    Args:
        dealer: the partitioner, with its data set.
        column: of the classes.
        clients: how many are drawn.
        file: written here.

    """
    with matplotlib.rc_context({"text.parse_math": False}):  # names may hold dollars
        figure, _, _ = plot_label_distributions(
            dealer,
            label_name=column,
            legend=True,
            max_num_partitions=clients,
            verbose_labels=True,
        )
        figure.savefig(file, bbox_inches="tight", dpi=120)
        pyplot.close(figure)
