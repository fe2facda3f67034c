"""A second opinion: who may use what, worked out by brute force from the text of the design alone.

It knows nothing of `vetting/`: claims, what is recorded and the rules are plain values as they stand in JSON and YAML.
Where `vetting/` compares, this lists everything that a value means and looks whether what is asked for is in the list.
It is slow, and meant to be read beside the rules, sentence by sentence.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import chain, combinations
from typing import Any
from urllib.parse import unquote_to_bytes

__all__ = ["answer"]

Plain = Mapping[str, Any]


def answer(claims: Plain, recorded: Plain, rules: Plain, now: datetime) -> dict[str, Any]:
    """What somebody with these claims has: `tiers` and `open` (flavours) by site, `tier`, and `roles`."""
    person = _Person(claims, recorded, rules, now)
    at = {site: [tier for tier in rules["tiers"] if person.has(tier, site)] for site in rules["sites"]}
    anywhere = [tier for tier in rules["tiers"] if any(tier in tiers for tiers in at.values())]
    return {
        "tiers": at,
        "tier": anywhere[-1] if anywhere else None,
        "roles": person.roles(),
        "open": {
            site: {
                flavour
                for flavour in rules["sites"][site]["flavours"]
                if rules["flavours"][flavour]["tier"] in at[site] and person.is_let_in(site) and person.may_start()
            }
            for site in rules["sites"]
        },
    }


class _Person:
    def __init__(self, claims: Plain, recorded: Plain, rules: Plain, now: datetime) -> None:
        self.recorded, self.rules, self.now = recorded, rules, now
        self.assurance = set(_texts(claims, "eduperson_assurance"))
        # The second factor is what the provider says in `acr`.
        self.second_factor = claims.get("acr") == "https://refeds.org/profile/mfa"
        self.affiliations = set(self._checked_affiliations(claims))
        # Entitlements of other namespaces from a provider are ignored.
        owned = rules["provider"]["owns_namespaces"]
        self.means: set[Any] = set()
        for claim in ("eduperson_entitlement", "entitlements"):
            for value in _strings(claims, claim):
                if owned == "any" or any(_is_below(value.strip(" "), namespace) for namespace in owned):
                    self.means |= set(_meanings(value.strip(" ")))

    def _checked_affiliations(self, claims: Plain) -> Iterator[str]:
        allowed = self.rules["provider"]["affiliation_scopes"]
        home = claims.get("schac_home_organization")
        for value in _texts(claims, "eduperson_scoped_affiliation"):
            if value.count("@") != 1 or value.endswith("@"):
                continue
            affiliation, scope = value.split("@")
            # "a.b.c" lies at or below "a.b.c", "b.c" and "c"
            labels = scope.lower().split(".")
            above = {".".join(labels[start:]) for start in range(len(labels))}
            if allowed == "any":
                yield affiliation
            elif allowed == "home-organisation":
                if isinstance(home, str) and "." in home and home.lower() in above:
                    yield affiliation
            elif above & {domain.lower() for domain in allowed}:
                yield affiliation

    # --- tiers

    def has(self, tier: str, site: str) -> bool:
        """Whether a tier is theirs at a site. Who is suspended has none."""
        if self.recorded.get("suspended"):
            return False
        rule = self.rules["tiers"][tier]
        if "needs" in rule and not self.has(rule["needs"], site):
            return False
        if rule.get("vetting") == "review" and tier not in self.recorded.get("admitted", ()):
            return False
        # Of `any` one rule must hold; with none listed, nothing is asked.
        if rule.get("any") and not any(self._meets(one, site) for one in rule["any"]):
            return False
        return self._meets(rule, site)

    def _meets(self, rule: Plain, site: str) -> bool:
        """All fields that a rule names must hold."""
        asked = {
            "communities": lambda wanted: any(self._holds(one) for one in wanted),
            "assurance": self._is_assured,
            "affiliation": lambda wanted: any(one in self.affiliations for one in wanted),
            "class_seat": lambda _: bool(self.recorded.get("class_seat")),
            "evidence": lambda _: any(self.now < end for end in self.recorded.get("evidence", ())),
            "terms": lambda _: self._accepted_the_terms(),
            "mapping": lambda _: self.recorded.get("mappings", {}).get(site) == "accepted",
            "mfa": lambda wanted: self.second_factor or (wanted != "always" and not self._site(site).get("mfa")),
        }
        return all(asked[field](wanted) for field, wanted in rule.items() if field in asked)

    def _holds(self, required: str) -> bool:
        wanted = _read(required)
        return wanted is not None and wanted in self.means

    def _is_assured(self, expression: str) -> bool:
        """Python's own `and` and `or` have the order that the design gives to & and |."""
        in_python = re.sub(
            r"[^\s&|()]+",
            lambda word: str(
                (word[0] if ":" in word[0] else "https://refeds.org/assurance/" + word[0]) in self.assurance
            ),
            expression,
        )
        return bool(eval(in_python.replace("&", " and ").replace("|", " or ")))

    def may_start(self) -> bool:
        # "Nothing is submitted or started before."
        return not self.rules.get("terms") or self._accepted_the_terms()

    def _accepted_the_terms(self) -> bool:
        """The version in force; or the one before, until the days of grace after the change are over."""
        terms, accepted = self.rules.get("terms"), self.recorded.get("acceptances", ())
        if terms is None:
            return False
        in_grace = self.now < terms["since"] + timedelta(days=terms["grace_days"])
        return terms["version"] in accepted or (in_grace and terms["previous"] != "" and terms["previous"] in accepted)

    # --- sites

    def _site(self, site: str) -> Plain:
        return self.rules["sites"][site]

    def is_let_in(self, site: str) -> bool:
        """A batch site must have accepted the person, and may ask for a second factor. Only certified sites that are not
        in a downtime take anybody."""
        its = self._site(site)
        if its["kind"] == "batch":
            if self.recorded.get("mappings", {}).get(site) != "accepted":
                return False
            if its.get("mfa") and not self.second_factor:
                return False
        is_down = any(start <= self.now < end for start, end in its.get("downtimes", ()))
        return its.get("certification", "certified") == "certified" and not is_down

    # --- roles

    def roles(self) -> set[str]:
        """Role names, and "site operator of" a site."""
        rules = self.rules["roles"]
        found = {role for role in ("operator", "reviewer", "trainer") if any(map(self._holds, rules.get(role, ())))}
        sites = rules.get("site_operator", {})
        found |= {f"site operator of {site}" for site in sites if any(map(self._holds, sites[site]))}
        return set() if self.recorded.get("suspended") else found


# --- what an entitlement means ------------------------------------------------------------------------------------


def _meanings(value: str) -> Iterator[Any]:
    """Everything that holding a value means: its role in its group, that group, and every group above it; or a resource
    with every choice of its actions."""
    read = _read(value)
    if read is None:
        return
    kind, namespace, path, rest = read
    if kind == "group":
        for depth in range(1, len(path) + 1):
            yield kind, namespace, path[:depth], None
        yield read
    else:
        for actions in chain.from_iterable(combinations(sorted(rest), size) for size in range(len(rest) + 1)):
            yield kind, namespace, path, frozenset(actions)


def _read(value: str) -> tuple[str, str, tuple[str, ...], Any] | None:
    """(kind, namespace, path, role or actions) of a value; None for what is malformed."""
    if len(value) > 1024 or " " in value or any(not character.isprintable() for character in value):
        return None
    words = value.split(":")
    kinds = [position for position, word in enumerate(words[:-1]) if position > 0 and word in ("group", "res")]
    if not kinds:
        return _read_old_form(value)
    namespace = [word.lower() for word in words[: kinds[0]]]
    if len(namespace) < 3 or namespace[0] != "urn" or any(not word or "#" in word for word in namespace):
        return None
    rest = value.split(":", kinds[0] + 1)[-1]
    if rest.count("#") > 1:
        return None
    path = rest.split("#")[0].split(":")  # the authority is not part of equality
    return _read_path(words[kinds[0]], ":".join(namespace), path)


def _read_old_form(value: str) -> tuple[str, str, tuple[str, ...], Any] | None:
    """urn:mace:egi.eu:AUTHORITY:[GROUP:]ROLE@VO is the role in that group of the VO."""
    words = value.split(":")
    if value.count("@") != 1 or "#" in value or len(words) < 5 or "" in words or "@" not in words[-1]:
        return None
    if [word.lower() for word in words[:3]] != ["urn", "mace", "egi.eu"]:
        return None
    role, vo = words[-1].split("@")
    if not role or not vo:
        return None
    return _read_path("group", "urn:mace:egi.eu", [vo, *words[4:-1], f"role={role}"])


def _read_path(kind: str, namespace: str, words: list[str]) -> tuple[str, str, tuple[str, ...], Any] | None:
    role: str | None = None
    actions: list[str] = []
    if kind == "group" and words[-1].startswith("role="):
        role = words.pop()[len("role=") :]
    if kind == "res" and "act" in words[1:]:
        start = words.index("act", 1)
        if len(words) != start + 2:
            return None
        actions = words[start + 1].split(",")
        words = words[:start]
    texts = [_decoded(word) for word in [*words, *actions, *([] if role is None else [role])]]
    if not words or None in texts:
        return None
    path = tuple(str(text) for text in texts[: len(words)])
    if kind == "group" and any(group.startswith("role=") for group in path):
        return None
    if kind == "group":
        return kind, namespace, path, None if role is None else texts[-1]
    return kind, namespace, path, frozenset(texts[len(words) :])


def _decoded(word: str) -> str | None:
    try:
        text = unquote_to_bytes(word).decode()
    except UnicodeDecodeError:
        return None
    return text if text and text.isprintable() else None


def _is_below(value: str, namespace: str) -> bool:
    words, above = value.lower().split(":"), namespace.lower().split(":")
    return words[: len(above)] == above


# --- claims -------------------------------------------------------------------------------------------------------


def _strings(claims: Plain, claim: str) -> list[str]:
    """A claim of the wrong type is a missing claim."""
    value = claims.get(claim)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _texts(claims: Plain, claim: str) -> list[str]:
    """Without those that have line breaks or are far too long; blanks around them do not count."""
    return [one.strip() for one in _strings(claims, claim) if one.isprintable() and len(one) <= 512]
