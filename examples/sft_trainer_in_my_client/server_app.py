"""The server beside it: ILoRA with control variates over the model of this project."""

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from my_data import RANKS, my_model

from ilora_app import wire
from ilora_app.corrections import ControlVariates
from ilora_app.lora.factors import AdapterState
from ilora_app.lora.initialisation import standard_factors
from ilora_app.strategies import ILoRA

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train; the log says how the loss of the clients falls."""
    backbone = my_model(str(context.run_config["model"]))
    generator = torch.Generator().manual_seed(0)
    factors = standard_factors(backbone.shapes(), max(RANKS), generator)
    initial = AdapterState(factors, backbone.initial_head())
    strategy = ILoRA(drift_correction=ControlVariates(), fraction_evaluate=0.0)
    result = strategy.start(
        grid,
        initial_arrays=wire.model_record(initial.named_tensors()),
        num_rounds=int(context.run_config["rounds"]),
    )
    for number, metrics in result.train_metrics_clientapp.items():
        print(f"round {number}: {dict(metrics)}")
