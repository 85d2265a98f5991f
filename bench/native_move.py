"""One migration by QEMU itself, between two monitors: set up, ordered, followed by events, cancelled at its cap.

Total time runs from the order to move (the destination stands and listens) until the source says "completed" and the
guest runs at the destination; QEMU's own event stamps, so nothing is polled.
"""
import contextlib
import time
from dataclasses import dataclass, field

from qmp import Refused, event_time

MIGRATION_CAPABILITIES = ("multifd", "postcopy-ram", "auto-converge")
DESTINATION_PATIENCE_S = 60


@dataclass(frozen=True)
class MoveSettings:
    engine: object  # rows.Engine
    channels: int
    blackout_target_ms: int
    postcopy_at_once: bool  # else when the first pass is over
    cap_s: float
    address: str
    port: int

    @property
    def uri(self):
        return f"tcp:{self.address}:{self.port}"


@dataclass
class NativeMove:
    completed: bool = False
    total_s: float = 0.0
    stopped_ms: float = None
    detail: dict = field(default_factory=dict)


class MigrationFailed(Exception):
    pass


def _configure(monitor, settings):
    """The same on both sides. What an earlier move had set is set back."""
    engine = settings.engine
    capabilities = [{"capability": name, "state": name in engine.capabilities} for name in MIGRATION_CAPABILITIES]
    monitor.execute("migrate-set-capabilities", capabilities=capabilities + [{"capability": "events", "state": True}])
    parameters = {"max-bandwidth": 1 << 40, "max-postcopy-bandwidth": 0, "downtime-limit": settings.blackout_target_ms,
                  "multifd-compression": "none"}
    if engine.multifd:
        parameters["multifd-channels"] = settings.channels
    monitor.execute("migrate-set-parameters", **{**parameters, **dict(engine.parameters)})


class _Source:
    """Follows the source's events until the migration has ended."""

    def __init__(self, monitor, settings):
        self.monitor, self.settings = monitor, settings
        self.in_postcopy = self.given_up = False
        self.stopped_at = self.ended_at = self.outcome = None

    def follow(self, deadline):
        while self.outcome is None:
            event = self.monitor.next_event(max(deadline - time.monotonic(), 0))
            if event is not None:
                self._take(event)
            elif time.monotonic() >= deadline:
                deadline = self._give_up(deadline)

    def _take(self, event):
        name, data = event["event"], event.get("data", {})
        if name == "STOP":
            self.stopped_at = event_time(event)
        elif name == "MIGRATION" and data["status"] in ("completed", "failed", "cancelled"):
            self.outcome, self.ended_at = data["status"], event_time(event)
        elif self._is_time_for_postcopy(name, data):
            self.in_postcopy = True
            self.monitor.execute("migrate-start-postcopy")

    def _is_time_for_postcopy(self, name, data):
        """When the first pass is over: QEMU counts the bitmap's syncs, and the second one ends the first pass."""
        if not self.settings.engine.postcopy or self.in_postcopy:
            return False
        if self.settings.postcopy_at_once:
            return name == "MIGRATION" and data["status"] == "active"
        return name == "MIGRATION_PASS" and data["pass"] >= 2

    def _give_up(self, deadline):
        """Returns until when to wait for the end. There is no way back out of post-copy."""
        if self.in_postcopy:
            if time.monotonic() > deadline + DESTINATION_PATIENCE_S:
                raise MigrationFailed("post-copy did not end")
            return deadline + DESTINATION_PATIENCE_S
        if self.given_up:
            raise MigrationFailed("QEMU did not cancel its migration")
        self.given_up = True
        self.monitor.execute("migrate_cancel")
        return deadline + DESTINATION_PATIENCE_S


def _wait_for_start(monitor, wait_s):
    """When the guest's vCPUs started at the destination."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        event = monitor.next_event(deadline - time.monotonic())
        if event and event["event"] == "RESUME":
            return event_time(event)
    raise MigrationFailed("the guest did not start at the destination")


def _failure(monitor):
    with contextlib.suppress(Refused, ValueError, OSError):
        return monitor.execute("query-migrate").get("error-desc", "no reason given")
    return "the monitor is gone"


def _detail(monitor):
    """QEMU's own view, kept beside ours."""
    status = monitor.execute("query-migrate")
    ram = status.get("ram", {})
    return {"qemu_total_ms": status.get("total-time"), "qemu_downtime_ms": status.get("downtime"),
            "qemu_bytes": ram.get("transferred"), "passes": ram.get("dirty-sync-count"),
            "throttled_to_pct": status.get("cpu-throttle-percentage")}


def run_native_move(source, destination, settings):
    """The destination's process stands (-incoming defer). Returns a NativeMove, or raises MigrationFailed."""
    for monitor in (source, destination):
        _configure(monitor, settings)
        monitor.events.clear()  # of earlier moves
    destination.execute("migrate-incoming", uri=settings.uri)
    follower = _Source(source, settings)
    ordered, deadline = time.time(), time.monotonic() + settings.cap_s
    source.execute("migrate", uri=settings.uri)
    follower.follow(deadline)
    if follower.outcome == "failed" and not follower.given_up:
        raise MigrationFailed(f"QEMU's own migration failed: {_failure(source)}")
    move = NativeMove(follower.outcome == "completed", follower.ended_at - ordered, detail=_detail(source))
    if move.completed:
        started_at = _wait_for_start(destination, DESTINATION_PATIENCE_S)
        move.total_s = max(follower.ended_at, started_at) - ordered
        move.stopped_ms = (started_at - follower.stopped_at) * 1000
    return move
