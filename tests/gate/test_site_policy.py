"""A site has the last word, at once, and reads afterwards what was asked for."""

import pytest

from spawners.gateway.protocol import ErrorCode, GateRefusal, Submitted
from tests.support.gate import Gate, new_attempt


def refused(gate: Gate, login: str, **resources: object) -> GateRefusal:
    request = gate.submission(login, new_attempt(), **resources)
    with pytest.raises(GateRefusal) as caught:
        Submitted.parse(gate.raw(request.line()))
    return caught.value


def test_more_walltime_than_allowed_is_cut_and_said(gate: Gate) -> None:
    account, attempt = gate.site.accounts[0], new_attempt()
    done = gate.submit(account, attempt, minutes=100_000)
    assert done.minutes == 120
    assert gate.site.run("squeue", "--noheader", "--format=%l", f"--jobs={done.job}").strip() == "2:00:00"
    gate.cancel(done.job, attempt, account)


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        ({"cpus": 9}, "cpus"),
        ({"memory_mib": 16_385}, "memory_mib"),
        ({"gpus": 1}, "gpus"),
        ({"partition": "short"}, "short"),
        ({"account": "physics"}, "physics"),
        ({"reservation": "course"}, "course"),
    ],
)
def test_what_the_policy_does_not_allow_is_refused_by_name(
    gate: Gate, resources: dict[str, object], named: str
) -> None:
    said = refused(gate, gate.site.accounts[0], **resources)
    assert said.error is ErrorCode.LIMIT
    assert named in said.detail


def test_what_the_policy_names_may_be_chosen(gate: Gate) -> None:
    account, attempt = gate.site.accounts[0], new_attempt()
    gate.change_policy(partitions=["notebooks", "short"], options=["--nice=5"])
    job = gate.submit(account, attempt, partition="short").job
    assert gate.site.run("squeue", "--noheader", "--format=%P %y", f"--jobs={job}").split() == ["short", "5"]
    gate.cancel(job, attempt, account)


def test_a_person_is_blocked_at_once_and_their_job_can_still_be_ended(gate: Gate) -> None:
    account, attempt = gate.site.accounts[0], new_attempt()
    job = gate.submit(account, attempt).job
    gate.write("blocked", f"{account}  # until we have talked\n")
    assert refused(gate, account).error is ErrorCode.BLOCKED
    assert gate.submit(account, attempt).existed
    other = new_attempt()
    assert gate.cancel(gate.submit(gate.site.accounts[1], other).job, other, gate.site.accounts[1])
    assert gate.row(attempt) is not None
    assert gate.cancel(job, attempt, account)


def test_a_drained_site_takes_nothing_new_and_says_why(gate: Gate) -> None:
    account, attempt = gate.site.accounts[0], new_attempt()
    job = gate.submit(account, attempt).job
    gate.write("drained", "new cooling until Friday\n")
    said = refused(gate, account)
    assert said.error is ErrorCode.DRAINED
    assert "new cooling until Friday" in said.detail
    assert gate.ping().drained
    again = gate.submit(account, attempt)
    assert (again.job, again.existed) == (job, True)
    assert gate.cancel(job, attempt, account)


def test_one_account_has_no_more_sessions_than_the_site_allows(gate: Gate) -> None:
    account, attempt = gate.site.accounts[2], new_attempt()
    gate.change_policy(limits={"jobs_per_account": 1})
    job = gate.submit(account, attempt).job
    assert refused(gate, account).error is ErrorCode.LIMIT
    assert gate.submit(account, attempt).existed
    gate.cancel(job, attempt, account)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"site": "andes"}',
        '{"site": "andes", "history": "guess"}',
        '{"site": "a", "history": "launcher", "partition": "x"}',
        '{"site": "a", "history": "launcher", "options": ["x"]}',
    ],
)
def test_a_policy_that_is_not_understood_allows_nothing(gate: Gate, text: str) -> None:
    gate.write("policy.json", text)
    said = refused(gate, gate.site.accounts[0])
    assert said.error is ErrorCode.INTERNAL
    assert "policy.json" in said.detail


def test_each_request_is_a_line_that_people_can_read(gate: Gate) -> None:
    account, attempt = gate.site.accounts[0], new_attempt()
    gate.log.unlink(missing_ok=True)
    job = gate.submit(account, attempt).job
    gate.cancel(job, attempt, account)
    gate.raw(b'{"v": 1, "verb": "ping\\nfake", "id": "a\\nb", "account": "x\\ny"}')
    submitted, cancelled, nonsense = gate.log.read_text().splitlines()
    assert f" submit id=t account={account} attempt={attempt} -> ok job={job} existed=False (" in submitted
    assert f" cancel id=t account={account} attempt={attempt} job={job} -> ok cancelled=True (" in cancelled
    assert " ? -> bad-verb: " in nonsense
    assert gate.log.stat().st_mode & 0o007 == 0


def test_a_log_that_cannot_be_written_stops_no_cancel(gate: Gate) -> None:
    account, attempt = gate.site.accounts[0], new_attempt()
    job = gate.submit(account, attempt).job
    gate.change_policy(log="/dev/full")
    assert gate.cancel(job, attempt, account)
