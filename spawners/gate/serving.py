"""One request from the input, one line of answer, one line in the site's log."""

import json
import os
import signal
import sys
import time

from spawners.gate.checking import LARGEST_REQUEST_BYTES
from spawners.gate.journal import keep, line
from spawners.gate.refusal import Refusal
from spawners.gate.verbs import VERBS, VERSION, Gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from spawners.gate.dialect import Dialect

GATE_SECONDS = 90
"""After this long without an answer the gate ends, whatever hangs."""


def serve(dialect: "type[Dialect]") -> int:
    """Answer the request on the input. The folder of the gate's own file is the site's."""
    signal.alarm(GATE_SECONDS)
    began = time.monotonic()
    text = sys.stdin.buffer.readline(LARGEST_REQUEST_BYTES + 1)
    request: "dict[str, Any]" = {}
    where = "syslog"
    try:
        gate = Gate(os.path.dirname(os.path.realpath(__file__)), dialect)
        where = gate.policy["log"]
        request, answer = gate.answer(text)
    except Refusal as refusal:
        answer = {"v": VERSION, "ok": False, "error": refusal.code, "detail": refusal.detail}
    verb = request.get("verb")
    known = verb if isinstance(verb, str) and verb in VERBS else "?"
    keep(where, line(request, known, answer, time.time(), time.monotonic() - began))
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    return 0
