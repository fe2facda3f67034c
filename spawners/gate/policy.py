"""What the site allows: files in the gate's own folder, which only root can change. Each request reads them anew, so
a change holds from the next request on.

    policy.json   limits and names; what it does not know, it refuses
    accounts      who may use the gate, one login name a line; # begins a comment
    blocked       who may start nothing for now, one login name a line; may be missing
    drained       if it is there, nobody may start anything; its first line is the reason that people are told
"""

import json
import os
import pwd
import re
import stat

from spawners.gate.checking import ACCOUNT, WORD, between, matching
from spawners.gate.refusal import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

HISTORY = ("accounting", "completion", "launcher")
LIMITS = ("cpus", "memory_mib", "gpus", "minutes", "jobs_per_account")
DEFAULTS: "dict[str, Any]" = {
    "prefix": "nbfed",
    "partitions": [],
    "charge_accounts": [],
    "reservations": [],
    "limits": {},
    "options": [],
    "environment": {},
    "path": "/usr/local/bin:/usr/bin:/bin",
    "lowest_uid": 1000,
    "log": "syslog",
}
LARGEST_POLICY_CHARACTERS = 4000000


def is_list_of(check: "Callable[[Any], bool]") -> "Callable[[Any], bool]":
    """A check for a list of what another check likes."""
    return lambda value: isinstance(value, list) and all(check(each) for each in value)


def is_environment(value: "Any") -> bool:
    """Whether these are variables for a command."""
    name = re.compile(r"[A-Z][A-Z0-9_]*")
    return isinstance(value, dict) and all(name.fullmatch(key) and isinstance(value[key], str) for key in value)


def is_limits(value: "Any") -> bool:
    """Whether these are known limits."""
    good = between(0, 1000000000)
    return isinstance(value, dict) and all(name in LIMITS and good(value[name]) for name in value)


def is_path(value: "Any") -> bool:
    """Whether this is an absolute path, or several that are parted by colons."""
    return isinstance(value, str) and value.startswith("/")


KEYS: "dict[str, Callable[[Any], bool]]" = {
    "site": matching(WORD),
    "history": lambda value: value in HISTORY,
    "prefix": matching(re.compile(r"[a-z][a-z0-9]{0,15}")),
    "partitions": is_list_of(matching(WORD)),
    "charge_accounts": is_list_of(matching(WORD)),
    "reservations": is_list_of(matching(WORD)),
    "limits": is_limits,
    "options": is_list_of(lambda value: isinstance(value, str) and value.startswith("-")),
    "environment": is_environment,
    "path": is_path,
    "lowest_uid": between(1, 4294967294),
    "log": lambda value: value == "syslog" or is_path(value),
}


class Policy:
    """The site's files, as they are now. `owner` is the only account, besides root, that may own them."""

    def __init__(self, folder: str, owner: int = 0) -> None:
        self.folder = folder
        self.owner = owner
        self._closed(folder)
        self.settings = self._settings()

    def __getitem__(self, key: str) -> "Any":
        return self.settings[key]

    def _settings(self) -> "dict[str, Any]":
        try:
            found = json.loads(self._read("policy.json") or "")
        except ValueError as error:
            raise Refusal("internal", "the site's policy.json cannot be read: %s" % error)
        if not isinstance(found, dict):
            raise Refusal("internal", "the site's policy.json is not a JSON object")
        for key, value in found.items():
            if key not in KEYS or not KEYS[key](value):
                raise Refusal("internal", "in the site's policy.json, %s is unknown or not what it can be" % ascii(key))
        settings = dict(DEFAULTS, **found)
        for key in KEYS:
            if key not in settings:
                raise Refusal("internal", "the site's policy.json does not say %s" % key)
        return settings

    def accounts(self) -> "list[str]":
        return self._names("accounts")

    def blocked(self) -> "list[str]":
        return self._names("blocked")

    def drained(self) -> "str | None":
        """The reason why nothing may start; None if it may."""
        text = self._read("drained")
        if text is None:
            return None
        return (text.strip().splitlines() or ["the site gives no reason"])[0]

    def member(self, account: str) -> "pwd.struct_passwd":
        """The account as the system knows it, if the site lets the federation act for it."""
        if account not in self.accounts():
            raise Refusal("not-mapped", "%s is not on this site's list of accounts" % account)
        person = self.found(account)
        if person is None:
            raise Refusal("not-mapped", "%s is on this site's list, but is no account that may run jobs" % account)
        return person

    def found(self, account: str) -> "pwd.struct_passwd | None":
        """The account as the system knows it; None unless it is a person's."""
        try:
            person = pwd.getpwnam(account)
        except KeyError:
            return None
        return person if person.pw_uid >= self["lowest_uid"] and person.pw_name == account else None

    def limits(self) -> "dict[str, Any]":
        """What the other side may know, so that it need not ask in vain."""
        shown = {name: self["limits"].get(name) for name in LIMITS}
        return dict(shown, **{name: self[name] for name in ("partitions", "charge_accounts", "reservations")})

    def granted(self, wish: "dict[str, Any]") -> "dict[str, Any]":
        """The resources of a request within this policy: more walltime than allowed is cut, all else refused."""
        limits = self["limits"]
        given = dict({"gpus": 0, "partition": None, "account": None, "reservation": None}, **wish)
        given["minutes"] = self.minutes(wish["minutes"])
        for name in ("cpus", "memory_mib", "gpus"):
            if name in limits and given[name] > limits[name]:
                raise Refusal("limit", "this site allows %d %s, not %d" % (limits[name], name, given[name]))
        if given["minutes"] < 1:
            raise Refusal("limit", "this site allows no walltime")
        for name, allowed in (
            ("partition", "partitions"),
            ("account", "charge_accounts"),
            ("reservation", "reservations"),
        ):
            if given[name] is None:
                # The first is the site's own choice; a reservation is never chosen for anybody.
                given[name] = self[allowed][0] if self[allowed] and name != "reservation" else None
            elif given[name] not in self[allowed]:
                raise Refusal("limit", "this site's policy does not name the %s %s" % (name, given[name]))
        return given

    def minutes(self, wished: int) -> int:
        most: int = self["limits"].get("minutes", wished)
        return min(wished, most)

    def _names(self, name: str) -> "list[str]":
        lines = (self._read(name) or "").splitlines()
        names = [line.partition("#")[0].strip() for line in lines]
        wrong = [each for each in names if each and not ACCOUNT.fullmatch(each)]
        if wrong:
            raise Refusal("internal", "in the site's file %s, %s is no login name" % (name, ascii(wrong[0])))
        return [each for each in names if each]

    def _read(self, name: str) -> "str | None":
        path = os.path.join(self.folder, name)
        try:
            self._closed(path)
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read(LARGEST_POLICY_CHARACTERS)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refusal("internal", "the site's file %s cannot be read: %s" % (name, error.strerror))

    def _closed(self, path: str) -> None:
        """What others could change is no policy of the site."""
        status = os.stat(path)
        if status.st_uid not in (0, self.owner) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Refusal("internal", "%s must belong to root, and nobody else may write to it" % path)
