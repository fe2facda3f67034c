"""What the worker tells Prometheus about sessions and holds. It sets these while it works; a scrape reads nothing anew.

All names are in docs/reference/metrics.md, each with the alarm that it is for.
"""

from collections.abc import Mapping
from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge

from quota.tables import OPEN_STATES, HoldState

__all__ = ["WorkerMetrics"]

RENEWALS = ("renewed", "short", "refused")
SETTLEMENTS = ("launcher", "scheduler", "last seen", "never ran")


class WorkerMetrics:
    """The metrics of one worker. Each label that is known from the start is there from the start, with 0.

    Parameters
    ----------
    registry
        Where they go; a new one of their own where nobody asks.
    sites
        The names of the sites.
    """

    def __init__(self, registry: CollectorRegistry | None = None, sites: tuple[str, ...] = ()) -> None:
        registry = registry or CollectorRegistry()
        self._holds = Gauge("nbfed_open_holds", "Open holds of this hub, by state.", ["state"], registry=registry)
        self._oldest = Gauge(
            "nbfed_oldest_hold_age_seconds", "Age of the oldest open hold in a state; 0 without one.", ["state"],
            registry=registry,
        )  # fmt: skip
        self._renewals = Counter(
            "nbfed_renewals", "Renewals of leases: renewed, short (less than a lease was left), refused.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self._settlements = Counter(
            "nbfed_settlements",
            f"Holds that the worker closed, by whose times the charge was made of: {', '.join(SETTLEMENTS)}.",
            ["source"],
            registry=registry,
        )
        self._unknown = Counter(
            "nbfed_unknown_observations", "Times that a site could not be asked about a session.", ["site"],
            registry=registry,
        )  # fmt: skip
        self._silent = Gauge(
            "nbfed_silent_sessions", "Sessions about which their site has been silent for worker.silent_minutes.",
            ["site"], registry=registry,
        )  # fmt: skip
        self._strays = Counter(
            "nbfed_stray_sessions", "Sessions found running that no open attempt belongs to; they are ended.", ["site"],
            registry=registry,
        )  # fmt: skip
        self._sites = set(sites)
        for outcome in RENEWALS:
            self._renewals.labels(outcome)
        for source in SETTLEMENTS:
            self._settlements.labels(source)
        for site in sites:
            for metric in (self._unknown, self._silent, self._strays):
                metric.labels(site)
        self.holds({}, {})

    def holds(self, numbers: Mapping[HoldState, int], oldest: Mapping[HoldState, timedelta]) -> None:
        """How many holds are open in each state, and how old the oldest is."""
        for state in OPEN_STATES:
            self._holds.labels(state.value).set(numbers.get(state, 0))
            self._oldest.labels(state.value).set(oldest.get(state, timedelta()).total_seconds())

    def renewal(self, outcome: str) -> None:
        """A lease was to be renewed; one of `RENEWALS`."""
        self._renewals.labels(outcome).inc()

    def settlement(self, source: str) -> None:
        """The worker closed a hold; one of `SETTLEMENTS`."""
        self._settlements.labels(source).inc()

    def unknown(self, site: str) -> None:
        """A site could not be asked about a session."""
        self._unknown.labels(site).inc()

    def silent(self, numbers: Mapping[str, int]) -> None:
        """About how many sessions each site has been silent for too long."""
        self._sites |= set(numbers)
        for site in self._sites:
            self._silent.labels(site).set(numbers.get(site, 0))

    def stray(self, site: str) -> None:
        """A session was found that no open attempt belongs to."""
        self._strays.labels(site).inc()
