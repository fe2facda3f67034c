"""The metrics are those of the reference page, word for word, and are there from the start."""

import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from prometheus_client import REGISTRY, CollectorRegistry

import spawners.refusal
from federation.worker import Job, Worker
from spawners.gateway.answers import SiteState
from spawners.gateway.metrics import GatewayMetrics
from spawners.gateway.served import Served
from spawners.metrics import WorkerMetrics
from tests.federation.test_worker import Lock

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
ROW = re.compile(r"^\| `(nbfed_\w+)(?:\{([\w,]+)\})?` \| (\w+) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def worker_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    job = Job("rounds", timedelta(seconds=1), lambda: None)
    Worker([job], Lock(), probe=lambda: None, registry=registry)
    WorkerMetrics(registry, ("here",))
    return registry


def gateway_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    metrics.request("here", "queue", "ok", 0.1)
    site = SimpleNamespace(
        name="here", waiting=0, forward_count=0, broken_count=0, masters_up=lambda _kind: 1,
        health=lambda: SimpleNamespace(queue_age_seconds=None, state=SiteState.OK),
    )  # fmt: skip
    metrics.watch([cast("Served", site)])
    return registry


def test_the_reference_page_lists_every_metric_with_its_labels_type_and_text_and_says_which_alarm_to_set() -> None:
    assert spawners.refusal.REFUSALS
    of_the_hub = (family for family in REGISTRY.collect() if family.name.startswith("nbfed_"))
    families = [*worker_registry().collect(), *of_the_hub, *gateway_registry().collect()]
    described = {name: (labels, kind, text) for name, labels, kind, text, _ in ROW.findall(PAGE.read_text())}
    found = {}
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = next(
            (",".join(label for label in sample.labels if label != "le") for sample in family.samples), "code"
        )
        found[name] = (labels, family.type, family.documentation)
    assert described == found
    assert all(alarm.endswith(".") for *_, alarm in ROW.findall(PAGE.read_text()))


def test_what_may_happen_is_there_with_zero_before_it_happens() -> None:
    registry = worker_registry()
    for name, labels in {
        "nbfed_open_holds": {"state": "unknown"},
        "nbfed_renewals_total": {"outcome": "refused"},
        "nbfed_settlements_total": {"source": "last seen"},
        "nbfed_silent_sessions": {"site": "here"},
        "nbfed_stray_sessions_total": {"site": "here"},
        "nbfed_worker_job_runs_total": {"job": "rounds", "outcome": "failed"},
        "nbfed_database_outages_total": {},
    }.items():
        assert registry.get_sample_value(name, labels) == 0, name
