"""Measures what is exported, on the test split of the run."""

from dataclasses import replace

from ilora_app.export.places import ReleaseError
from ilora_app.export.source import Source
from ilora_app.lora.factors import AdapterState
from ilora_app.tasks import training
from ilora_app.tasks.encoded_split import encoded_test
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.sources import DataError


def measured(source: Source, adapter: AdapterState) -> tuple[tuple[str, float], ...]:
    """Loss and metrics of an adapter.

    Args:
        source: names the base model and the data.
        adapter: relative to W0.

    Raises:
        ReleaseError: the data of the run are not there.
        ModelError: the base model is not.

    """
    s = source.settings
    model = replace(s.model, quantisation="none")
    backbone = load_backbone(model, source.labels, s.run.seed)
    try:
        examples = encoded_test(model, s.data, source.labels, s.run.seed)
    except DataError as error:
        raise ReleaseError(f"--measure needs the data of the run: {error}") from None
    backbone.install_merged(adapter)
    found = training.evaluate(backbone, examples, s.training.eval_batch_size)
    return tuple(found.items())
