"""Whatever ends a session at a batch site, its books are exact: the charge is the sum of what the scheduler's own records
(sacct) say of the runs of its job.

All sessions are begun at once, and what befalls them follows in `fates`, so that the tests wait at the same time. They all
live through a restart of the controller first.
"""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from spawners.sessions import Server, Session
from spawners.tables import EndReason
from tests.services.test_session import wait_for
from tests.support.federation import Federation

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

SITE, FORGETFUL = "sierra", "costa"
RUNNING = ("stopped", "idle", "scancelled", "requeued", "drained", "restarted")
DRAINED = "The nodes that it needs are down, or reserved, at the moment."
DIES_IN_SHORT = '[ "$SLURM_JOB_PARTITION" != short ]'


class Fates:
    """One person's sessions, by the name of the server, which says what befalls it."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.slurm = federation.slurm[SITE]
        self.person = federation.sign_in("trainer")
        self.sessions: dict[str, Session] = {}

    def begin(self, *names: str, site: str = SITE, **options: str) -> None:
        self.federation.begin(self.person, *names, site=site, **options)

    def wait_until_ready(self, *names: str) -> None:
        self.federation.wait_until_ready(self.person, *names)

    def keep(self, *names: str) -> None:
        """Note the sessions of these servers once they have a job."""
        for name in names:
            self.sessions[name] = wait_for(lambda name=name: self._with_job(name), 60)

    def _with_job(self, name: str) -> Session | None:
        found = self.federation.service.house.sessions.last_of(Server("hub", self.person.user_name, name))
        return found if found is not None and found.backend_ref else None

    def job(self, name: str) -> str:
        job = self.sessions[name].backend_ref
        assert job is not None
        return job

    def ends(self, name: str, reason: EndReason, *states: str) -> int:
        """Wait for the end; it has this reason, the runs of its job ended in these states, and the books are exact. What it
        costs, in milli-unit seconds.
        """
        session = self.sessions[name]
        line = self.federation.closed(self.person, session.attempt)
        records = self.federation.slurm[session.site].records(self.job(name))
        assert tuple(record.state for record in records) == states
        self.federation.assert_exact(session.site, self.job(name), line)
        found = self.federation.service.house.sessions.get(session.attempt)
        assert found is not None
        assert found.end_reason is reason
        return line.cost

    def stop(self, name: str) -> None:
        self.federation.stop(self.person, name)


@pytest.fixture(scope="module")
def fates(federation: Federation) -> Iterator[Fates]:
    made = Fates(federation)
    slurm = made.slurm
    slurm.set_prolog(DIES_IN_SHORT)
    try:
        made.begin(*RUNNING)
        made.begin("overtime", site=FORGETFUL)
        made.wait_until_ready(*RUNNING, "overtime")
        made.keep(*RUNNING, "overtime")
        federation.slurm[FORGETFUL].run("scontrol", "update", f"JobId={made.job('overtime')}", "TimeLimit=1")
        slurm.stop_controller()
        slurm.start_controller()
        wait_for(lambda: slurm.node_state() == "mix", 60)

        slurm.run("scontrol", "update", f"NodeName={slurm.node}", "State=DRAIN", "Reason=mending")
        made.begin("waiting")
        made.keep("waiting")
        slurm.run("scancel", made.job("scancelled"))
        wait_for(lambda: slurm.job_state(made.job("waiting")) == "PENDING")
        assert slurm.job_state(made.job("drained")) == "RUNNING"
        wait_for(lambda: made.person.status("waiting").get("detail") == DRAINED, 60)
        slurm.run("scontrol", "update", f"NodeName={slurm.node}", "State=RESUME")

        federation.ask_for(made.person, "prolog", site=SITE, partition="short")  # it is over before the answer, perhaps
        made.keep("prolog")
        wait_for(lambda: slurm.node_state() == "drng", 60)  # Slurm takes a node away whose prolog fails
        slurm.run("scontrol", "update", f"NodeName={slurm.node}", "State=RESUME")
        slurm.start_again(made.job("requeued"))
        yield made
    finally:
        slurm.set_prolog("exit 0")
        slurm.run("scontrol", "update", f"NodeName={slurm.node}", "State=RESUME")
        federation.end_sessions_of(made.person)


def test_who_stops_pays_what_the_job_ran(fates: Fates) -> None:
    fates.stop("stopped")
    assert fates.ends("stopped", EndReason.STOPPED, "CANCELLED") > 0


def test_a_session_that_lived_through_a_restart_of_the_controller_pays_for_all_of_its_time(fates: Fates) -> None:
    fates.stop("restarted")
    assert fates.ends("restarted", EndReason.STOPPED, "CANCELLED") > 0


def test_an_administrator_s_scancel_is_an_end(fates: Fates) -> None:
    assert fates.ends("scancelled", EndReason.EXITED, "CANCELLED") > 0


def test_a_node_that_is_drained_ends_nothing_and_who_waits_for_it_reads_why(fates: Fates) -> None:
    fates.wait_until_ready("waiting")
    for name in ("drained", "waiting"):
        fates.stop(name)
        assert fates.ends(name, EndReason.STOPPED, "CANCELLED") > 0


def test_a_job_that_the_administrator_starts_again_pays_for_both_runs(fates: Fates) -> None:
    assert fates.ends("requeued", EndReason.EXITED, "REQUEUED", "FAILED") > 0


def test_a_job_that_dies_in_the_prolog_pays_what_is_on_record_of_it(fates: Fates) -> None:
    assert fates.ends("prolog", EndReason.FAILED, "CANCELLED") <= 1000


def test_the_end_of_the_walltime_is_told_as_such(fates: Fates) -> None:
    assert fates.ends("overtime", EndReason.WALLTIME, "TIMEOUT") >= 60_000


def test_a_session_that_nobody_uses_is_stopped(fates: Fates) -> None:
    """The last one, as for this hub an hour passes at once."""
    fates.federation.service.set_clock(timedelta(minutes=61))
    try:
        assert fates.ends("idle", EndReason.IDLE, "CANCELLED") > 0
    finally:
        fates.federation.service.set_clock(timedelta(0))
