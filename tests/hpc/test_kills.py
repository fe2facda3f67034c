"""Hub, gateway, command master and data master are killed, at every named step of a session's way and at chance moments.

Whatever dies: no job is lost, none is doubled, none is left without its session, no hold without a job, and the books are
what the scheduler recorded. A notebook that runs answers throughout, and again soon where its own connection died. Killed
at once, sessions at each of the steps see the same kill. `NBFED_SEED` repeats a run.
"""

import contextlib
import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import select

from quota.statement import Line
from quota.tables import IS_OPEN, HoldTable
from spawners.gateway.link import MasterKind
from spawners.sessions import Server, Session
from spawners.tables import EndReason
from tests.services.test_session import lines_of, wait_for
from tests.support.federation import Federation
from tests.support.gateway_rig import wait_until
from tests.support.slurm import HOMES, Record
from tests.support.slurm_accounting import AccountedSite

pytestmark = [pytest.mark.service]

SITE = "sierra"
VICTIMS = ("hub", "gateway", MasterKind.COMMAND, MasterKind.DATA)
WITNESS = "witness"
INTENT, HANDED = 51, 52
"""Minutes of walltime, by which the site's sbatch knows where to stand still."""
DEAD = (httpx.HTTPError, ValueError)
"""What asking a dead hub raises: the proxy's answer has no user's name in it."""
_SECONDS = 180

SBATCH = """#!/bin/sh
for word; do case $word in --time=*) minutes=${{word#--time=}};; esac; done
stand_still() {{
    for _ in $(seq 150); do
        [ -e {folder}/$1-$minutes ] || return 0
        : > {folder}/at-$1-$minutes
        sleep 0.1
    done
}}
stand_still before
/usr/bin/sbatch "$@"
code=$?
stand_still after
exit $code
"""

TIMES = [
    pytest.param(3, id="3-each", marks=pytest.mark.timeout(1800)),
    pytest.param(50, id="50-each", marks=[pytest.mark.long, pytest.mark.timeout(14_400)]),
]


class Crowd:
    """One person with many sessions at one site, one of which, the witness, is asked all the time."""

    def __init__(self, federation: Federation, folder: Path) -> None:
        self.federation, self.folder = federation, folder
        self.slurm = federation.slurm[SITE]
        self.person = federation.sign_in("trainer")
        self.user = self.person.user_name
        self.silences: list[str] = []
        self._before = {line.hold for line in lines_of(federation.service, self.user)}
        self._over = threading.Event()
        self._asking = threading.Thread(target=self._ask_for_ever, daemon=True)

    def __enter__(self) -> "Crowd":
        self.federation.begin(self.person, WITNESS, site=SITE)
        self.federation.wait_until_ready(self.person, WITNESS)
        self._asking.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._asking.join()
        self.federation.end_sessions_of(self.person)

    def open(self) -> dict[str, Session]:
        """The open sessions by the name of their server."""
        found = self.federation.service.house.sessions.open_on("hub")
        return {one.server.name: one for one in found if one.server.user == self.user}

    def session(self, name: str) -> Session | None:
        return self.federation.service.house.sessions.open_of(Server("hub", self.user, name))

    def try_to_stop(self, *names: str) -> None:
        """Press the button; the hub may be dead."""
        with contextlib.suppress(*DEAD):
            self.federation.stop(self.person, *names)

    def wait_until_whole(self) -> None:
        """Each open session has its one job, each job and each open hold its open session."""
        wait_until(lambda: self._apart() == "", _SECONDS, told=self._apart)

    def _apart(self) -> str:
        alive = sorted(self.slurm.run("squeue", "--noheader", "--format=%j").split())
        attempts = sorted(one.attempt for one in self.open().values())
        with self.federation.service.house.database.read() as connection:
            holds = set(connection.execute(select(HoldTable.id).where(IS_OPEN)).scalars())
        if alive == [f"nbfed-{attempt}" for attempt in attempts] and holds == set(attempts):
            return ""
        return f"jobs {alive}, sessions {attempts}, holds {sorted(holds)}"

    def _ended(self) -> dict[str, Line]:
        """The lines of the crowd's attempts that are closed."""
        lines = [line for line in lines_of(self.federation.service, self.user) if line.hold not in self._before]
        return {line.hold: line for line in lines if line.state not in ("held", "running", "unknown")}

    def _otherwise_on_record(self) -> list[tuple[Line, list[Record]]]:
        """Lines that cost something else than what is on record of their one job."""
        records = self.slurm.every_record()
        found = [(line, records.get(f"nbfed-{attempt}", [])) for attempt, line in self._ended().items()]
        return [
            (line, runs)
            for line, runs in found
            if line.cost != sum(run.seconds for run in runs) * 1000 or len({run.job for run in runs}) > 1
        ]

    def assert_books(self) -> None:
        """Every attempt of the crowd's had at most one job, and costs what is on record of it; every job belongs to an
        attempt; who was ready once ended only because the person wanted it.
        """
        # The controller tells of an end before accounting has written it down.
        wait_until(lambda: not self._otherwise_on_record(), 60, told=lambda: str(self._otherwise_on_record()))
        for attempt in self._ended():
            session = self.federation.service.house.sessions.get(attempt)
            assert session is not None
            assert session.ready_at is None or session.end_reason is EndReason.STOPPED, session
        self.federation.assert_verified()

    def _ask_for_ever(self) -> None:
        address = f"{self.person.user_url}{WITNESS}/api"
        while not self._over.wait(0.1):
            silences, asked_at = self.silences, datetime.now(UTC)  # those of the round in which it is asked
            try:
                httpx.get(address, timeout=10, trust_env=False).raise_for_status()
            except httpx.HTTPError as error:
                silences.append(f"{asked_at:%H:%M:%S.%f}: {error!r}")


@pytest.fixture(scope="module")
def crowd(federation: Federation, accounted_site: AccountedSite) -> Iterator[Crowd]:
    gate = federation.gates[SITE]
    folder = gate.folder / "slow"
    folder.mkdir()
    folder.chmod(0o1777)  # sbatch is run by the owners of jobs
    (folder / "sbatch").write_text(SBATCH.format(folder=folder))
    (folder / "sbatch").chmod(0o755)
    gate.change_policy(path=f"{folder}:/usr/local/bin:/usr/bin:/bin")
    try:
        with Crowd(federation, folder) as made:
            yield made
    finally:
        gate.change_policy(path="/usr/local/bin:/usr/bin:/bin")


def seeded() -> random.Random:
    seed = int(os.environ.get("NBFED_SEED") or random.randrange(2**32))
    print(f"NBFED_SEED={seed}")
    return random.Random(seed)


def victims(chance: random.Random, times: int) -> list[str]:
    found = [str(victim) for victim in VICTIMS for _ in range(times)]
    chance.shuffle(found)
    return found


# --- at every named step ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def standing_at_every_step(crowd: Crowd, to_end: str, number: int) -> Iterator[dict[str, str]]:
    """Sessions that stand still: after the intent, after sbatch and before its answer, with the id stored, at the forward;
    and `to_end`, which is being ended. They go on after the block. The attempts by the names of their servers.
    """
    federation, person, slurm = crowd.federation, crowd.person, crowd.slurm
    names = {step: f"{step}-{number}" for step in ("intent", "handed", "stored", "forward")}
    holds = [crowd.folder / f"before-{INTENT}", crowd.folder / f"after-{HANDED}"]
    stopped: list[psutil.Process] = []
    with ThreadPoolExecutor(5) as asking:  # the hub answers only when a session is ready, or late
        try:
            slurm.run("scontrol", "update", "PartitionName=short", "State=DOWN")
            asking.submit(federation.ask_for, person, names["stored"], site=SITE, partition="short")
            asking.submit(federation.ask_for, person, names["forward"], site=SITE)
            stopped += stopped_before_it_answers(crowd, names["forward"])
            wait_for(lambda: (one := crowd.session(names["stored"])) and one.backend_ref, _SECONDS)
            for hold in holds:
                hold.touch()
            for step, minutes in (("intent", INTENT), ("handed", HANDED)):
                asking.submit(federation.ask_for, person, names[step], site=SITE, walltime_minutes=minutes)
            wait_for(lambda: all((crowd.folder / f"at-{hold.name}").exists() for hold in holds), _SECONDS)
            at = {name: crowd.open()[name] for name in names.values()}
            assert at[names["intent"]].backend_ref is at[names["handed"]].backend_ref is None
            assert slurm.job_ids(f"nbfed-{at[names['intent']].attempt}") == []
            asking.submit(crowd.try_to_stop, to_end)
            wait_for(lambda: (one := crowd.session(to_end)) is None or one.end_reason)
            yield {step: at[name].attempt for step, name in names.items()}
        finally:
            for hold in holds:
                hold.unlink(missing_ok=True)
                (crowd.folder / f"at-{hold.name}").unlink(missing_ok=True)
            for process in stopped:
                with contextlib.suppress(psutil.Error):
                    process.resume()
            slurm.run("scontrol", "update", "PartitionName=short", "State=UP")


def stopped_before_it_answers(crowd: Crowd, name: str) -> list[psutil.Process]:
    """The session listens, the gateway has its forward, and it does not answer."""
    session = wait_for(lambda: crowd.session(name), _SECONDS)
    account = crowd.federation.accounts[crowd.user, SITE]
    file = HOMES / account / ".nbfed" / "sessions" / session.attempt / "session.json"
    found: list[psutil.Process] = []
    wait_until(file.exists, _SECONDS)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if session.attempt in " ".join(process.cmdline()) and process.username() == account:
                process.suspend()
                found.append(process)
    assert found
    wait_for(lambda: (one := crowd.session(name)) and one.host, _SECONDS)
    return found


@pytest.mark.parametrize("times", TIMES)
def test_killed_at_every_step_of_a_session_s_way(crowd: Crowd, times: int) -> None:
    federation, to_end = crowd.federation, "first"
    federation.begin(crowd.person, to_end, site=SITE)
    federation.wait_until_ready(crowd.person, to_end)
    for number, victim in enumerate(victims(seeded(), times)):
        print(f"{number}: {victim}")
        crowd.silences = []
        with standing_at_every_step(crowd, to_end, number) as attempts:
            federation.kill(victim, SITE)
        federation.bring_back(victim)
        steps = ("handed", "stored", "forward")
        names = [f"{step}-{number}" for step in steps]
        federation.wait_until_ready(crowd.person, *names)
        wait_for(lambda ended=to_end: ended not in crowd.open(), _SECONDS)
        crowd.wait_until_whole()
        assert [crowd.open()[name].attempt for name in names] == [
            attempts[step] for step in ("handed", "stored", "forward")
        ]
        if victim != MasterKind.DATA:
            assert crowd.silences == [], victim
        to_end = names.pop()
        federation.stop(crowd.person, *names, f"intent-{number}")
    federation.stop(crowd.person, to_end)
    wait_for(lambda: set(crowd.open()) == {WITNESS}, _SECONDS)
    crowd.wait_until_whole()
    crowd.assert_books()


# --- at chance moments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", TIMES)
def test_killed_at_any_moment_while_people_come_and_go(crowd: Crowd, times: int) -> None:
    chance, over = seeded(), threading.Event()

    def come_and_go(name: str, own: random.Random) -> None:
        for number in range(10_000):
            with contextlib.suppress(*DEAD):
                crowd.federation.ask_for(crowd.person, f"{name}-{number}", site=SITE)
            if over.wait(own.uniform(0, 8)):
                return
            crowd.try_to_stop(f"{name}-{number}")

    with ThreadPoolExecutor(3) as people:
        gone = [people.submit(come_and_go, name, random.Random(chance.random())) for name in ("ana", "rui", "eva")]
        try:
            for victim in victims(chance, times):
                time.sleep(chance.uniform(0, 4))
                crowd.federation.kill(victim, SITE)
                crowd.federation.bring_back(victim)
        finally:
            over.set()
    assert [each.exception() for each in gone] == [None] * len(gone)
    end_all_but_the_witness(crowd)
    crowd.silences = []
    wait_for(lambda: WITNESS in crowd.federation.ready(crowd.person), _SECONDS)
    time.sleep(1)
    assert crowd.silences == []
    crowd.wait_until_whole()
    crowd.assert_books()


def end_all_but_the_witness(crowd: Crowd) -> None:
    """As their person would: press the button again where it did nothing, as the hub was dead. What was only meant then may
    be on its way for three minutes, which pass at once.
    """

    def is_so() -> bool:
        left = set(crowd.open()) - {WITNESS}
        crowd.try_to_stop(*left)
        return not left

    crowd.federation.service.set_clock(timedelta(minutes=4))
    try:
        # A start that nobody had pressed the button of yet is made again meanwhile, and then takes its three minutes.
        wait_for(is_so, _SECONDS + 240)
    finally:
        crowd.federation.service.set_clock(timedelta(0))
