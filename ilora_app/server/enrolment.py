"""The server meets its nodes: what they are told, and which of them can take part."""

from flwr.app import ConfigRecord
from flwr.serverapp import Grid
from flwr.superlink.grid import HttpGrid

from ilora_app import wire
from ilora_app.federation import identity
from ilora_app.federation.evaluation import EVALUATE, MEASURED_BY_CLIENTS, TRAIN
from ilora_app.federation.member import most_say
from ilora_app.federation.membership import Membership
from ilora_app.federation.snapshot import Snapshot, expect_members
from ilora_app.federation.standing import Standing
from ilora_app.federation.waiting import FederationError, wait
from ilora_app.server import preflight
from ilora_app.settings import Settings


def facts_for_nodes(classes: tuple[str, ...], run_key: str = "") -> ConfigRecord:
    """What nodes are told besides the model: the classes, in the order of their ids.

    And the name under which they keep their own state of the run, where they do.
    """
    facts = ConfigRecord({wire.CLASSES: list(classes)} if classes else {})
    if run_key:
        facts[wire.RUN_KEY] = run_key
    return facts


def evaluate_on(settings: Settings, grid: Grid) -> str:
    """Say what ``evaluate-on = "auto"`` means.

    In deployment every message starts a process, so one a round is better than two.
    Where clients measure what the best round is chosen by, its model must still be
    there, and so it is always ``evaluate``.
    """
    if settings.run.evaluate_on != "auto":
        return settings.run.evaluate_on
    by_clients = settings.keeping.best_metric.startswith(MEASURED_BY_CLIENTS)
    return TRAIN if is_deployed(grid) and not by_clients else EVALUATE


def is_deployed(grid: Grid) -> bool:
    """Whether nodes are SuperNodes: a ServerApp has another grid in simulation."""
    return isinstance(grid, HttpGrid)


def meet(grid: Grid, prepared: preflight.RunInputs) -> Membership:
    """Wait for nodes and learn their ranks.

    Raises:
        FederationError: none can take part, with what they said.

    """
    run = prepared.settings.run
    membership = Membership(
        facts=facts_for_nodes(prepared.labels, prepared.run_key),
        standing=Standing(
            run.strikes, run.max_wait_ratio if is_deployed(grid) else 0.0
        ),
        known_by=run.identity,
    )
    if prepared.resumed:
        checkpoint = prepared.resumed.checkpoint
        membership.finish(checkpoint.round)
        taken = Snapshot(checkpoint.tensors, checkpoint.facts)
        expect_members(membership, taken)
    if membership.largest_rank is None:
        membership.limit_rank(max(run.max_rank, *prepared.settings.ranks))
    wait(grid, prepared.settings.least_nodes[0], run.round_timeout, settle=True)
    keys = identity.keys(grid, run.identity).values()
    if not all(key is None or identity.name(key) for key in keys):
        raise FederationError(
            f"identity = {run.identity!r}: expected partition, as Flower names no key "
            "of these nodes"
        )
    membership.meet(grid, run.round_timeout)
    for member in membership.members:
        for problem in preflight.fits(prepared.backbone, wire.RANK, member.rank):
            membership.leave_out(member, f"--node-config {problem}")
    _same_split(membership)
    here = membership.connected(grid)
    if not here:
        reasons = "".join(
            f"\n  - {reason}" for reason in sorted(set(membership.left_out.values()))
        )
        raise FederationError(f"no node can take part:{reasons or ' none answered'}")
    _hidden(prepared.settings, len(here))
    return membership


def _hidden(settings: Settings, nodes: int) -> None:
    """See that delta leaves no room for giving single nodes away.

    Raises:
        FederationError: it is as large as one over the nodes, or there is one alone.

    """
    chosen = settings.privacy
    if chosen.dp != "client":
        return
    if nodes < 2:
        raise FederationError("dp = 'client': expected two nodes or more, 1 is there")
    if chosen.dp_delta >= 1 / nodes:
        raise FederationError(
            f"dp-delta = {chosen.dp_delta:g}: expected below {1 / nodes:g}, one over "
            f"the {nodes} nodes: to tell all of a few would be within it"
        )


def _same_split(membership: Membership) -> None:
    """See that a run which goes on has its data dealt out as before.

    Raises:
        FederationError: nodes hold parts of another number than they did.

    """
    members = membership.members
    away = most_say(member for member in members if member.node_id < 0)
    here = most_say(member for member in members if member.node_id > 0)
    if away and here and here != away:
        raise FederationError(
            f"the run that goes on had its data in {away} parts, and now nodes "
            f"have one of {here}: start it with as many nodes as before"
        )
