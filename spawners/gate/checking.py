"""Looking through a request: what passes has the right type, is within bounds, and cannot be anything but what it is
for. No name begins with a hyphen, and none has a space, a line break, a slash or a sign that a shell knows.
"""

import json
import re

from spawners.gate.refusal import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

LARGEST_REQUEST_BYTES = 262144
LARGEST_SCRIPT_CHARACTERS = 65536
LARGEST_HISTORY = 100

ATTEMPT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
JOB = re.compile(r"[0-9]{1,12}(\.[A-Za-z0-9][A-Za-z0-9.-]{0,127})?")
SECRET = re.compile(r"[A-Za-z0-9_=-]{16,512}")
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
# Limits come from the argv that the gate makes, never from lines that schedulers read in a script.
DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(SBATCH|PBS|BSUB|COBALT|FLUX|\$)", re.IGNORECASE | re.MULTILINE)
# A break in a line that is none for the check above must be none for a scheduler either.
CONTROL = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]|[\u2028\u2029\ufeff]")


def parse(line: bytes) -> "dict[str, Any]":
    """The request in a line of JSON."""
    if len(line) > LARGEST_REQUEST_BYTES:
        raise Refusal("too-big", "a request has at most %d bytes" % LARGEST_REQUEST_BYTES)
    try:
        request = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refusal("bad-request", "this is not JSON")
    if not isinstance(request, dict):
        raise Refusal("bad-request", "this is not a JSON object")
    if not is_whole(request.get("v")) or request["v"] != 1:
        raise Refusal("bad-request", "this gate speaks version 1 of the protocol")
    return request


def fields(
    found: "Any", needed: "dict[str, Callable[[Any], bool]]", optional: "dict[str, Callable[[Any], bool]]"
) -> None:
    """Refuse an object unless it has exactly these keys, each with a value that its check likes."""
    if not isinstance(found, dict):
        raise Refusal("bad-request", "an object is missing")
    unknown = sorted(set(found) - set(needed) - set(optional))
    if unknown:
        raise Refusal("bad-request", "unknown key %s" % ascii(unknown[0])[:100])
    for name, check in needed.items():
        if name not in found or not check(found[name]):
            raise Refusal("bad-request", "%s is missing, or not what it can be" % name)
    for name, check in optional.items():
        if name in found and not check(found[name]):
            raise Refusal("bad-request", "%s is not what it can be" % name)


def is_whole(value: "Any") -> bool:
    """Whether this is an integer; True and False are integers to Python."""
    return isinstance(value, int) and not isinstance(value, bool)


def between(least: int, most: int) -> "Callable[[Any], bool]":
    """A check for an integer within bounds, both included."""
    return lambda value: is_whole(value) and least <= value <= most


def matching(pattern: "Any") -> "Callable[[Any], bool]":
    """A check for a text that is, as a whole, what the pattern says."""
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def none_or(check: "Callable[[Any], bool]") -> "Callable[[Any], bool]":
    """A check for what another check likes, or nothing."""
    return lambda value: value is None or check(value)


def is_script(value: "Any") -> bool:
    """Whether this is a script that brings no options for the scheduler along."""
    if not isinstance(value, str) or not value.startswith("#!/") or len(value) > LARGEST_SCRIPT_CHARACTERS:
        return False
    return CONTROL.search(value) is None and DIRECTIVE.search(value) is None


HEAD = {"v": is_whole, "verb": lambda value: isinstance(value, str), "id": matching(REQUEST_ID)}
JOB_NAME = {"job": matching(JOB), "attempt": matching(ATTEMPT), "account": matching(ACCOUNT)}
RESOURCES = {"cpus": between(1, 100000), "memory_mib": between(1, 100000000), "minutes": between(1, 527040)}
MORE_RESOURCES = {
    "gpus": between(0, 10000),
    "partition": none_or(matching(WORD)),
    "account": none_or(matching(WORD)),
    "reservation": none_or(matching(WORD)),
}


def check_submit(request: "dict[str, Any]") -> None:
    """A request that starts a job."""
    needed = {"attempt": matching(ATTEMPT), "account": matching(ACCOUNT), "secret": matching(SECRET)}
    whole = {"script": is_script, "resources": lambda value: isinstance(value, dict)}
    fields(request, dict(HEAD, **dict(needed, **whole)), {})
    fields(request["resources"], RESOURCES, MORE_RESOURCES)


def check_cancel(request: "dict[str, Any]") -> None:
    """A request that ends a job."""
    fields(request, dict(HEAD, **JOB_NAME), {})


def check_history(request: "dict[str, Any]") -> None:
    """A request for what became of jobs."""
    fields(request, dict(HEAD, jobs=lambda value: isinstance(value, list) and 0 < len(value) <= LARGEST_HISTORY), {})
    for job in request["jobs"]:
        fields(job, JOB_NAME, {})


def check_bare(request: "dict[str, Any]") -> None:
    """A request that is nothing but its verb."""
    fields(request, HEAD, {})
