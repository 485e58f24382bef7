"""What is finished when time is up, by the clock and in a simulation."""

import pytest
import torch

from ilora_app.settings.deadline import finished_at
from ilora_app.tasks.deadline import SimulatedDeadline, TimedDeadline


def layers(number: int) -> dict[str, list[torch.nn.Parameter]]:
    return {f"m{i}": [torch.nn.Parameter(torch.ones(2))] for i in range(number)}


def loss_of(held) -> torch.Tensor:
    """The first layer feeds the next, as in a network."""
    x = torch.ones(2)
    for (parameter,) in held.values():
        x = x * parameter
    x.sum().backward()
    return x.sum().detach()


def test_backpropagation_finishes_the_last_layer_first():
    assert finished_at(4) == pytest.approx([1.0, 5 / 6, 4 / 6, 0.5])
    held = layers(4)
    clock = SimulatedDeadline(10.7, held, speed=1.0, seed=0)
    assert clock.run(lambda: loss_of(held), 8)[1]  # about 8 of 10.7 seconds
    assert set(clock.steps.values()) == {1}
    loss, stepping = clock.run(lambda: loss_of(held), 3)  # half of it by then
    assert stepping
    done = [clock.steps[name] == 2 for name in held]
    assert done == sorted(done)
    assert 0 < sum(done) < 4
    assert [held[name][0].grad is not None for name in held] == done
    assert clock.run(lambda: loss_of(held), 1) == (None, False)
    assert clock.elapsed == 10.7
    assert loss is not None


def test_by_the_clock_what_is_finished_is_what_backpropagation_has_reached():
    held = layers(3)
    (second,) = held["m1"]
    clock = TimedDeadline(0.2, held)

    def slow() -> torch.Tensor:
        """Time runs out behind the gradient of the last layer."""
        y = held["m0"][0] * held["m1"][0]
        y.register_hook(lambda _: clock_runs_out())
        (y * held["m2"][0]).sum().backward()
        raise AssertionError("the pass went on")

    def clock_runs_out() -> None:
        while clock.elapsed <= clock.seconds:
            pass

    loss, stepping = clock.run(slow, 2)
    assert (loss, stepping) == (None, True)
    assert clock.steps == {"m0": 0, "m1": 0, "m2": 1}
    assert second.grad is None
    assert held["m2"][0].grad is not None
    assert clock.run(slow, 2) == (None, False)
    clock.close()
    loss_of(held)  # no hook is left
    quick = TimedDeadline(100.0, held)
    assert quick.run(lambda: loss_of(held), 2)[1]
    assert quick.speed()[0] > 0


def test_who_never_finished_a_step_is_measured_too():
    held = layers(2)
    clock = SimulatedDeadline(1.0, held, speed=0.1, seed=0)
    clock.run(lambda: loss_of(held), 32)
    speed, spread = clock.speed()
    assert (speed, spread) == (1.0 / 32, 0.0)
