"""ILoRA as the strategy of a ServerApp of your own."""

from dataclasses import replace
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp

from ilora_app import wire
from ilora_app.lora.factors import AdapterState
from ilora_app.lora.initialisation import standard_factors
from ilora_app.runs.adapter import write_weights
from ilora_app.settings import parsing
from ilora_app.strategies import ILoRA
from ilora_app.tasks import data, training
from ilora_app.tasks.labels import label_names
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.text import tokenise

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, tell the accuracy after every round, and write the adapter."""
    settings = parsing.load(context.run_config)
    task, seed = settings.model.task, settings.run.seed
    source = data.resolve_columns(settings.data, task, seed)
    labels = label_names(source, seed)
    backbone = load_backbone(settings.model, labels, seed)
    test = tokenise(data.test_rows(source, seed), source, labels, backbone.processor)

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        model = AdapterState.from_named_tensors(wire.model_tensors(arrays))
        backbone.install_merged(model)
        found = training.evaluate(backbone, test, batch_size=64)
        print(f"round {server_round}: accuracy {found['accuracy']:.3f}")
        return MetricRecord(found)

    rank = max(settings.ranks)
    generator = torch.Generator().manual_seed(seed)
    factors = standard_factors(backbone.shapes(), rank, generator)
    initial = AdapterState(factors, backbone.initial_head())
    strategy = ILoRA(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=2)
    strategy.start(
        grid,
        initial_arrays=wire.model_record(initial.named_tensors()),
        num_rounds=settings.run.num_server_rounds,
        evaluate_fn=evaluate,
    )
    if settings.run.output_dir:
        model = strategy.global_model()
        # In the backbone's settings "auto" has become the names of modules.
        found = replace(settings, model=backbone.settings)
        write_weights(Path(settings.run.output_dir), model, found, backbone.fused)
