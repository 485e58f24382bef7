"""flwr-datasets' plots are imported by who draws, and by nobody else."""

import subprocess
import sys

import pytest

LOADED = "print(*sorted({'seaborn', 'matplotlib'} & set(sys.modules)))"
DRAWN = "print(plot_label_distributions.__module__)"


def printed(*lines: str) -> list[str]:
    code = "\n".join(("import sys", *lines))
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_partitions_come_without_plots_and_plots_when_they_are_drawn():
    told = printed(
        "import ilora_app.tasks.partitions as ours",
        LOADED,
        "print(ours.fl.IidPartitioner.__name__)",
        "import flwr_datasets",
        "print(callable(flwr_datasets.FederatedDataset))",
        "from flwr_datasets.visualization import plot_label_distributions",
        DRAWN,
        LOADED,
        "import flwr_datasets.visualization.bar_plot",
    )
    where = "flwr_datasets.visualization.label_distribution"
    assert told == ["", "IidPartitioner", "True", where, "matplotlib seaborn"]


@pytest.mark.parametrize(
    "first", ["flwr_datasets", "flwr_datasets.visualization", "seaborn"]
)
def test_what_somebody_has_imported_before_stays(first):
    told = printed(
        f"import {first}",
        f"before = sys.modules[{first!r}]",
        "import ilora_app.tasks.partitions",
        f"print(sys.modules[{first!r}] is before)",
        "from flwr_datasets.visualization import plot_label_distributions",
        DRAWN,
    )
    assert told == ["True", "flwr_datasets.visualization.label_distribution"]
