"""The client half of the drift correction of a round, from what the server sent."""

from typing import Any

from flwr.app import RecordDict

from ilora_app import wire
from ilora_app.corrections import ClientCorrection, client_half
from ilora_app.lora.factors import AdapterState
from ilora_app.methods import ClientHalf
from ilora_app.node.instructions import Instructions
from ilora_app.settings import MethodSettings


def correction_half(
    settings: MethodSettings,
    half: ClientHalf,
    content: RecordDict,
    instructions: Instructions,
    start: AdapterState,
) -> ClientCorrection:
    """Make the client half of the drift correction."""
    config: Any = content.config_records[wire.CONFIG]
    record = content.array_records.get(wire.CORRECTION)
    return client_half(
        settings,
        config,
        None if record is None else wire.decode_tensors(record),
        start,
        list(half.trained(start.named_tensors(), instructions.plan.up)),
        instructions.state,
        instructions.round,
        int(config.get(wire.LAST_TAKEN, 0)),
    )
