"""What may be asked of a batch system: within the flavour, within the site, and nothing that a person made up."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import Failure
from federation.settings import BatchSite, Flavour, LocalSite
from vetting.errors import NO_BATCH_SYSTEM, RESOURCE_TOO_MUCH, RESOURCE_UNKNOWN
from vetting.resources import JobShape, Resources, longest_minutes, shape, why_not

NODE = Flavour(cpu=32, memory_gib=120, gpu=2, weight=32, walltime_hours=8)
HERE = LocalSite.model_validate({"kind": "local", "title": "Here", "flavours": ["node"]})


def site(**changes: Any) -> BatchSite:
    content = {
        "kind": "batch", "title": "HPC Andes", "flavours": ["node"], "dialect": "slurm", "nodes": ["c1"],
        "login": {"host": "x", "host_key_file": "x"}, "ports": "1-2", "walltime_hours": 12, "partition": "notebooks",
        "partitions": ["fat"], "charge_accounts": ["proj-1"], "reservations": ["school"],
    }  # fmt: skip
    return BatchSite.model_validate({**content, **changes})


def test_nothing_chosen_is_the_whole_flavour_at_the_site_s_partition() -> None:
    assert shape(Resources(), NODE, site()) == JobShape(
        cores=32, memory_gib=120, gpus=2, partition="notebooks", account=None, reservation=None
    )


def test_what_is_chosen_is_taken() -> None:
    chosen = Resources(cores=1, memory_gib=4, gpus=0, partition="fat", account="proj-1", reservation="school")
    assert shape(chosen, NODE, site()) == JobShape(
        cores=1, memory_gib=4, gpus=0, partition="fat", account="proj-1", reservation="school"
    )


@pytest.mark.parametrize(
    ("flavour_hours", "site_hours", "minutes"),
    [
        pytest.param(8, 12, 480, id="the-flavour-s"),
        pytest.param(24, 12, 720, id="the-site-s"),
        pytest.param(None, 12, 720, id="a-flavour-without"),
    ],
)
def test_the_longest_walltime_is_the_shorter_of_flavour_and_site(
    flavour_hours: int | None, site_hours: int, minutes: int
) -> None:
    flavour = NODE.model_copy(update={"walltime_hours": flavour_hours})
    assert longest_minutes(flavour, site(walltime_hours=site_hours)) == minutes


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        pytest.param({"cores": 32}, None, id="all-cores"),
        pytest.param({"cores": 33}, RESOURCE_TOO_MUCH, id="more-cores"),
        pytest.param({"memory_gib": 121}, RESOURCE_TOO_MUCH, id="more-memory"),
        pytest.param({"gpus": 3}, RESOURCE_TOO_MUCH, id="more-gpus"),
        pytest.param({"walltime_minutes": 480}, None, id="longest"),
        pytest.param({"walltime_minutes": 481}, RESOURCE_TOO_MUCH, id="longer"),
        pytest.param({"partition": "notebooks"}, None, id="the-usual-partition-by-name"),
        pytest.param({"partition": "debug"}, RESOURCE_UNKNOWN, id="a-partition-that-is-not-listed"),
        pytest.param({"account": "fat"}, RESOURCE_UNKNOWN, id="a-partition-as-account"),
        pytest.param({"reservation": "other"}, RESOURCE_UNKNOWN, id="a-reservation-that-is-not-listed"),
    ],
)
def test_a_choice_outside_flavour_or_site_is_refused(chosen: dict[str, Any], problem: Any) -> None:
    refusal = why_not(Resources(**chosen), NODE, site(), "HPC Andes")
    assert (refusal.problem if refusal else None) is problem
    if problem:
        with pytest.raises(Failure):
            shape(Resources(**chosen), NODE, site())


def test_a_place_without_a_batch_system_takes_only_what_asks_for_nothing() -> None:
    assert why_not(Resources(), NODE, HERE, "Here") is None
    refusal = why_not(Resources(walltime_minutes=60), NODE, HERE, "Here")
    assert refusal is not None
    assert refusal.problem is NO_BATCH_SYSTEM
    assert "walltime_minutes" in refusal.message


numbers = st.none() | st.integers(0, 200)
names = st.none() | st.text(max_size=12) | st.sampled_from(["notebooks", "fat", "proj-1", "school", "x; rm -rf /"])


@given(cores=numbers, memory_gib=numbers, gpus=numbers, partition=names, account=names, reservation=names)
def test_whatever_is_chosen_a_job_has_only_numbers_within_the_flavour_and_names_of_the_settings(**chosen: Any) -> None:
    try:
        made = shape(Resources(**chosen), NODE, site())
    except Failure:
        return
    assert made.cores <= 32
    assert made.memory_gib <= 120
    assert made.gpus <= 2
    assert made.partition in ("notebooks", "fat")
    assert made.account in (None, "proj-1")
    assert made.reservation in (None, "school")
