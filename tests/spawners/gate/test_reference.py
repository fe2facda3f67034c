"""What the reference says of the gate is what it does."""

import json
import re
from pathlib import Path

from spawners.gate import policy
from spawners.gateway import protocol

ROOT = Path(__file__).parents[3]
REFERENCE = (ROOT / "docs" / "reference" / "gate.md").read_text()


def test_the_reference_names_every_key_and_every_code() -> None:
    models = (protocol.Submit, protocol.Resources, protocol.Row, protocol.HistoryRow, protocol.Pong, protocol.Submitted,
              protocol.Session, protocol.End, protocol.Cancelled, protocol.Run)  # fmt: skip
    keys = {name for model in models for name in model.model_fields} - {"ok"}
    keys |= set(policy.KEYS) | set(policy.LIMITS)
    keys |= {code.value for code in protocol.ErrorCode} | {source.value for source in protocol.Source}
    assert sorted(key for key in keys if f"`{key}`" not in REFERENCE) == []


def test_the_reference_has_the_defaults_of_the_policy() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", REFERENCE.partition("## policy.json")[2], re.MULTILINE))
    assert set(rows) == set(policy.KEYS)
    for key, default in rows.items():
        known = policy.DEFAULTS.get(key, "**needed**")
        assert default.strip("`") == (known if isinstance(known, str) else json.dumps(known))
