"""The worker knows the text of every mail that any house announces."""

import subprocess
import sys

import spawners.letters
import vetting.letters
from federation.letters import letter_kinds


def test_whoever_puts_the_house_together_registers_every_letter() -> None:
    """In a process of its own: here, this file has registered them all."""
    assert spawners.letters
    assert vetting.letters
    code = (
        "import hub_config.wiring; from federation.letters import letter_kinds as k; print(*(one.kind for one in k()))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == [kind.kind for kind in letter_kinds()]
