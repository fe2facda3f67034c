"""`nbfed identity`: look at the providers that people sign in through."""

from pathlib import Path

import click
import httpx

from federation.clock import system_clock
from federation.plain import plain
from federation.trust import trusted
from hub_config.settings import load

__all__ = ["identity"]

_SECONDS = 10.0


@click.group()
def identity() -> None:
    """Providers that people sign in through."""


@identity.command()
@click.argument("provider", required=False)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="file with an access token of yours: show what userinfo says to it, and what is derived from that",
)
@click.pass_context
def check(ctx: click.Context, provider: str | None, token_file: Path | None) -> None:
    """Look whether people can sign in through PROVIDER, else through each. Changes nothing, and prints no token."""
    from hub_config.doctor import State, report
    from hub_config.sign_in.check import claims_of, examine
    from hub_config.sign_in.providers import resolve

    settings = load()
    known = {each.id: each for each in resolve(settings)}
    if provider is not None and provider not in known:
        raise click.ClickException(f"There is no provider {plain(provider)}. Known are {', '.join(known)}.")
    asked = [known[provider]] if provider else list(known.values())
    if token_file is not None and len(asked) > 1:
        raise click.ClickException(f"Which provider gave the token? Name one of {', '.join(known)}.")
    failed = False
    with httpx.Client(timeout=_SECONDS, trust_env=False, verify=trusted()) as client:
        for each in asked:
            click.echo(f"{each.id}: {each.issuer}\n")
            checks = list(examine(each, settings.base_url, client, system_clock()))
            if token_file is not None:
                checks += claims_of(each, token_file.read_text().strip(), client)
            click.echo(report(checks) + "\n")
            failed |= any(found.state is State.FAIL for found in checks)
    if failed:
        ctx.exit(1)
