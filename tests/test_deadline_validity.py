"""With which methods and settings a round can end at a deadline."""

from dataclasses import replace

import pytest

from ilora_app.federation.validity import problems
from ilora_app.methods import parse, resolve
from ilora_app.settings import parsing
from tests.test_validity import settings


@pytest.mark.parametrize(
    ("name", "values", "key"),
    [
        ("fedavg-full", {"round-deadline": 1.0}, "round-deadline"),
        ("centralized", {"time-budget": 1.0}, "time-budget"),
        ("fedit", {"round-deadline": 1.0, "local-steps": 0}, "round-deadline"),
        (
            "fedit",
            {"round-deadline": 1.0, "gradient-accumulation": 2},
            "round-deadline",
        ),
        ("fedit", {"round-deadline": 1.0, "clients-per-batch": 2}, "round-deadline"),
        ("fedit", {"time-budget": 9.0, "drift-correction": "fedsmoo"}, "time-budget"),
        ("fedit", {"round-deadline": 1.0, "time-budget": 9.0}, "round-deadline"),
        ("ilora", {"time-budget": 9.0, "drift-correction": "fedlada"}, "time-budget"),
        (
            "fedgalore",
            {"round-deadline": 1.0, "drift-correction": "second-moments"},
            "round-deadline",
        ),
        ("fedit", {"simulated-speeds": "1,2"}, "simulated-speeds"),
    ],
)
def test_what_makes_no_sense_is_refused(name, values, key):
    flat = parsing.dump(settings(name)) | values
    chosen, wrong = parse(flat)
    assert wrong == {}
    assert set(problems(chosen)) == {key}


def test_auto_corrects_nothing_where_rounds_have_deadlines():
    for name in ("ilora", "fedgalore", "fedit"):
        chosen = settings(name)
        hasty = replace(chosen, deadline=replace(chosen.deadline, round_deadline=1.0))
        assert problems(hasty) == {}
        assert resolve(hasty).method.drift_correction == "none"
