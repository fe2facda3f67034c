"""What the gateway tells Prometheus about sites, requests, connections and forwards.

All names are in docs/reference/metrics.md, each with the alarm that it is for.
"""

from collections.abc import Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from spawners.gateway.answers import SiteState
from spawners.gateway.link import MasterKind
from spawners.gateway.served import Served

__all__ = ["GatewayMetrics"]

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class GatewayMetrics:
    """The metrics of one gateway. Each label that is known from the start is there from the start, with 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._requests = Counter("nbfed_gateway_requests", "Requests to a gate, by how they ended: ok, refused, away.",
                                 ["site", "verb", "outcome"], registry=registry)  # fmt: skip
        self._seconds = Histogram("nbfed_gateway_request_seconds", "How long requests to a site's gate took.",
                                  ["site", "verb"], buckets=_SECONDS, registry=registry)  # fmt: skip
        self._polls = Counter("nbfed_gateway_polls", "Questions for all jobs of a site: answered, failed.",
                              ["site", "outcome"], registry=registry)  # fmt: skip
        self._starts = Counter("nbfed_gateway_master_starts", "Connections that were made to a site.", ["site", "kind"],
                               registry=registry)  # fmt: skip

    def request(self, site: str, verb: str, outcome: str, seconds: float) -> None:
        """A request to the gate ended."""
        self._requests.labels(site, verb, outcome).inc()
        self._seconds.labels(site, verb).observe(seconds)

    def poll(self, site: str, answered: bool, _seconds: float) -> None:
        """The site was asked for all jobs."""
        self._polls.labels(site, "answered" if answered else "failed").inc()

    def start(self, site: str, kind: MasterKind) -> None:
        """A connection was made."""
        self._starts.labels(site, kind.value).inc()

    def watch(self, sites: Iterable[Served]) -> None:
        """Tell of these sites as they are when Prometheus asks."""
        state = self._gauge("site_state", f"1 for the state that a site is in: {', '.join(SiteState)}.", "state")
        up = self._gauge("master_up", f"Connections whose process runs: {', '.join(MasterKind)}.", "kind")
        figures = {
            self._gauge("answer_age_seconds", "Since a site last said what its jobs are; -1 before."): _age_seconds,
            self._gauge("forwards", "Sessions that a way leads to."): _forwards,
            self._gauge("broken_forwards", "Those of them that could not be made."): _broken,
            self._gauge("waiting_requests", "Requests that wait for their turn."): _waiting,
        }
        for site in sites:
            for each in SiteState:
                state.labels(site.name, each.value).set_function(partial(_is_in, site, each))
            for kind in MasterKind:
                up.labels(site.name, kind.value).set_function(partial(_up, site, kind))
                self._starts.labels(site.name, kind.value)
            for gauge, figure in figures.items():
                gauge.labels(site.name).set_function(partial(figure, site))
            for outcome in ("answered", "failed"):
                self._polls.labels(site.name, outcome)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"nbfed_gateway_{name}", text, ["site", *labels], registry=self._registry)


def _age_seconds(site: Served) -> float:
    age = site.health().queue_age_seconds
    return -1.0 if age is None else age


def _forwards(site: Served) -> float:
    return float(site.forward_count)


def _broken(site: Served) -> float:
    return float(site.broken_count)


def _waiting(site: Served) -> float:
    return float(site.waiting)


def _is_in(site: Served, state: SiteState) -> float:
    return float(site.health().state is state)


def _up(site: Served, kind: MasterKind) -> float:
    return float(site.masters_up(kind))
