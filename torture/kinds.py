"""The kinds of faults, with their durations and frequencies."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from torture import cluster_faults as clusters
from torture import network_faults as network
from torture import outside_faults as outside
from torture import server_faults as servers
from torture import upgrades
from torture import worker_faults as workers
from torture.moment import Moment
from torture.site import Site

Act = Callable[[Site, Moment], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """A kind of fault: once in the short run, in `steps` steps of the long run."""

    name: str
    promises: str
    act: Act
    lasts_s: tuple[float, ...] = (0,)
    """Its durations (s); the short run uses the first."""
    short_times: int = 1
    times: int = 1
    """Repetitions in one step of the long run."""
    steps: int = 3
    why_not: Callable[[Site], str | None] = lambda _: None
    """Why this kind can't be injected here; None when it can."""


KINDS: Final = (
    Kind("issuer killed", "I1-I5, I7", workers.issuer_killed, short_times=4, times=20, steps=15),
    Kind("issuer killed at a point", "I1-I5, I7", workers.issuer_killed_at_a_point, short_times=2, times=10, steps=15),
    Kind("generator killed", "I1, I3-I5", workers.generator_killed, short_times=2, times=20, steps=5),
    Kind("generator killed at a point", "I1, I3-I5", workers.generator_killed_at_a_point, times=10, steps=5),
    Kind("lifecycle killed", "I11", workers.lifecycle_killed, short_times=4, times=20, steps=5),
    Kind("lifecycle frozen", "I11", workers.lifecycle_frozen, (2, 10), steps=3),
    Kind("slot dropped", "I11", workers.slot_dropped, times=3, steps=3),
    Kind("workers stopped", "I2, I3", workers.workers_stopped, short_times=2, times=5, steps=8),
    Kind("issuer frozen", "I1-I3, I7", workers.issuer_frozen, (2, 1, 5, 17, 30), steps=10),
    Kind("generator frozen", "I1, I4, I5", workers.generator_frozen, (2, 1, 5, 17), steps=6),
    Kind("broker paused", "I1-I4, I7", servers.broker_paused, (3, 1, 5, 30, 90), steps=5),
    Kind("broker killed", "I1-I4, I7", servers.broker_killed, times=3, steps=5),
    Kind("Postgres killed", "I1-I5, I7", servers.postgres_killed, times=5, steps=5),
    Kind("sessions killed", "I1-I5, I7", servers.sessions_killed, short_times=5, times=20, steps=5),
    Kind("commit answers lost", "I1, I2", network.commit_answers_lost, short_times=5, times=25, steps=8),
    Kind("fail-over, synchronous", "I1, I4", servers.failover, steps=10),
    Kind("connections reset", "I1-I4", network.connections_reset, short_times=5, times=20, steps=10),
    Kind("connections refused", "I1-I4", network.connections_refused, (2, 5, 10), steps=4),
    Kind("partition", "I1-I5, I7", network.partition, (5, 10, 20, 40), steps=10),
    Kind("slow network", "I7", network.slow_network, (3, 30), steps=2),
    Kind("disk fails", "I1-I5", servers.disk_fails, (2, 5), steps=6, why_not=servers.needs_strace),
    Kind("disk full", "I3, I4", servers.disk_full, (3, 5), steps=4, why_not=servers.needs_small_disk),
    Kind("node killed", "I1-I5, I7", workers.node_killed, (15,), steps=3),
    Kind("clock off", "I1, I6", workers.clock_off, (3, 5), steps=6, why_not=workers.needs_faketime),
    Kind("rebalance storm", "I1-I4, I7", outside.rebalance_storm, short_times=4, times=16, steps=6),
    Kind("poison", "I3", outside.poison, short_times=3, times=50, steps=10),
    Kind("remote service misbehaves", "I1, I4, I5", outside.remote_misbehaves, (4, 20), steps=5),
    Kind("codes reserved", "I9, I1, I4", outside.codes_reserved, short_times=4, times=10, steps=8),
    Kind("refilled", "I1-I3, I5", outside.refilled, steps=6),
    Kind("rolling upgrade", "I1-I5, I7, I11", upgrades.rolling_upgrade),
)  # fmt: skip

# Of Kafka with three brokers. One that dies stays away until the next fault.
BROKER_KINDS: Final = (
    Kind("leading broker killed", "I1-I4, I7", clusters.leading_broker_killed, steps=6),
    Kind("brokers restarted in turn", "I1-I4, I7", clusters.brokers_restarted),
    Kind("broker frozen", "I1-I4, I7", clusters.broker_frozen, (10, 3, 20)),
    Kind("two brokers killed", "I1-I4, I7", clusters.two_brokers_killed, (5, 10)),
    Kind("disk full on one broker", "I1-I4, I7", clusters.broker_disk_full, (5,), why_not=servers.needs_small_disk),
    Kind("issuer killed", "I1-I5, I7", workers.issuer_killed, short_times=2, times=5),
)  # fmt: skip
# Of Postgres under Patroni. A node that dies stays away until the next fault.
PATRONI_KINDS: Final = (
    Kind("node of the leader killed", "I1-I5, I7", clusters.leader_killed, steps=6),
    Kind("Postgres of the leader killed", "I1-I5, I7", clusters.leading_postgres_killed),
    Kind("node of the synchronous standby killed", "I1-I5, I7", clusters.standby_killed),
    Kind("leader handed over", "I1-I5, I7", clusters.leader_handed_over),
    Kind("node of the leader frozen", "I1-I5, I7", clusters.leader_frozen, (40,), steps=2),
    Kind("etcd frozen", "I1-I5, I7", clusters.etcd_frozen, (10, 30), steps=2),
    Kind("issuer killed", "I1-I5, I7", workers.issuer_killed, short_times=2, times=5),
)  # fmt: skip
