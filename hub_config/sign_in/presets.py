"""What is known of providers by name, so that an operator need not write it."""

from dataclasses import dataclass

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What stands in for settings that are left out; an empty text or tuple stands for nothing."""

    issuer: str = ""
    title: str = ""
    subject_claim: str = "sub"


def _check_in(host: str, title: str) -> Preset:
    """EGI Check-in (docs.egi.eu, "Check-in", "Service Providers"): one realm on each of its three installations."""
    return Preset(
        issuer=f"https://{host}/auth/realms/egi",
        title=title,
        subject_claim="voperson_id",
    )


PRESETS = {
    "egi-check-in": _check_in("aai.egi.eu", "EGI Check-in"),
    "egi-check-in-demo": _check_in("aai-demo.egi.eu", "EGI Check-in (demo)"),
    "egi-check-in-dev": _check_in("aai-dev.egi.eu", "EGI Check-in (development)"),
    "generic": Preset(),
}
