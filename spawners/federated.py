"""FederatedSpawner: one session of one person, wherever it runs.

It validates what was chosen, asks for admission, writes the intent, and starts a child spawner of the place's kind. The
sessions table, not the hub's memory, says which attempt a server has: after a restart the hub asks `poll()`, and the
line that decides is whether the attempt has its environment (*exchanged*). Facts about JupyterHub that this rests on are
in docs/explanation/one-session.md.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from jupyterhub import orm
from jupyterhub.utils import url_path_join
from traitlets import default
from wrapspawner import WrapSpawner

from federation.database import DatabaseUnavailable
from federation.errors import DATABASE_AWAY, Failure
from federation.i18n import gettext
from federation.ids import new_id, reference
from federation.persons import Person
from quota.errors import SERVER_BUSY
from spawners.backends.base import Life, Observation
from spawners.backends.child import Child, NotSubmitted, Wait
from spawners.context import Context, SiteBackend
from spawners.ending import close
from spawners.options import from_form, resources_in, to_options, to_wish
from spawners.refusal import Refusal
from spawners.sessions import Server, Session, SessionExists
from spawners.stages import Stage
from spawners.tables import EndReason, SessionState
from vetting.errors import ACCESS_SUSPENDED
from vetting.placement import Option, Wish, choose

__all__ = ["FederatedSpawner"]

_T = TypeVar("_T")
_PROGRESS_SECONDS = 0.2
_ADDRESS_SECONDS = 60.0
_NO_ADDRESS = "http://127.0.0.1:1"


class FederatedSpawner(WrapSpawner):  # type: ignore[misc]  # wrapspawner has no types
    """See the module. `context` is set once for all, by `hub_config.configure`."""

    context: ClassVar[Context]

    wish: Wish | None = None
    session: Session | None = None
    """The attempt that start() of this process works on."""
    child_spawner: Child | None

    _secret = ""
    _started_here = False
    _gone = False
    _step: "asyncio.Task[Any] | None" = None
    typed: Mapping[str, Any] = {}
    """What the person typed last, so that a form that comes back with an error still shows it."""

    # --- what was chosen ------------------------------------------------------------------------------------

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Callable[..., None]:
        # JupyterHub calls it on every path before start(): form, REST and a start from stored options.
        return FederatedSpawner.validate_options

    @default("options_from_form")
    def _default_options_from_form(self) -> Callable[..., dict[str, Any]]:
        return self._reshape_form

    def _reshape_form(self, form: Mapping[str, list[Any]]) -> dict[str, Any]:
        options = from_form(form)
        # JupyterHub renders the form of the default server, whichever server was asked for.
        self.typed = self.user.spawner.typed = {**options, "server": self.name}
        return options

    def validate_options(self, options: Mapping[str, Any]) -> None:
        """Check the options of this start, wherever they came from."""
        policy = self.context.admission.policy
        try:
            self.wish = to_wish(options, flavours=policy.flavours, environments=policy.environments, sites=policy.sites)
        except Failure as failure:
            raise self._refuse(failure) from failure

    # --- start, poll, stop ----------------------------------------------------------------------------------

    async def start(self) -> str:
        """Start a session, or take up the open attempt of this server again."""
        if self.internal_ssl:
            raise RuntimeError("internal_ssl is not supported: certificates would be made before a place is chosen")
        self._started_here, self._gone = True, False
        away: dict[str, Failure] = {}
        try:
            while True:
                try:
                    return await self._start_at_a_place(away)
                except NotSubmitted as refusal:
                    await self._leave_place(refusal.failure, away)
        except DatabaseUnavailable as error:
            raise self._refuse(Failure(DATABASE_AWAY)) from error
        except Failure as failure:
            raise self._refuse(await self._note_failure(failure)) from failure

    async def _start_at_a_place(self, away: Mapping[str, Failure]) -> str:
        token_ids = self._token_ids()
        self.session = await self._in_thread(lambda: self._attempt(token_ids, away))
        child = self.construct_child()
        child.attach(self.session, self._secret)
        child.api_token, child.handler, child.cert_paths = self.api_token, self.handler, self.cert_paths
        return await child.start()

    async def _leave_place(self, failure: Failure, away: dict[str, Failure]) -> None:
        """The place did not take it: the attempt is over, and the next one goes elsewhere, if the person left us that.

        Raises
        ------
        Failure
            If somebody wants it stopped meanwhile, or the person named the place.
        """
        session = self.session
        assert session is not None
        self.log.warning("Attempt %s was not taken by %s: %s", session.attempt, session.site, failure)
        ours = await self._in_thread(lambda: self._give_up(session, failure))
        if self.wish is None or self.wish.site is not None or not ours:
            raise failure
        away[session.site] = failure
        self.session, self.child_spawner = None, None

    def _give_up(self, session: Session, failure: Failure) -> bool:
        """Close an attempt of which the place has nothing; False if it was to be stopped anyway."""
        context = self.context
        ours = context.sessions.ending(session.attempt, EndReason.FAILED, failure.problem.code)
        close(
            session, Observation(life=Life.ENDED), sessions=context.sessions, ledger=context.ledger, clock=context.clock
        )
        return ours

    async def poll(self) -> int | None:
        """None while the session lives or may live; its exit code when it is over.

        An open attempt that is not exchanged and was not started by this process belongs to a hub that died: 0, and 0
        again (JupyterHub asks twice) until start() takes it up.
        """
        if self._gone:
            return 0
        try:
            session, seen = await asyncio.to_thread(self._look)
            if session is None:
                return 0
            if not self._started_here and session.exchanged_at is None:
                self._gone = True
                return 0
            if seen.life is not Life.ENDED or (session.state is SessionState.INTENT and self._started_here):
                return None
            await self._close(session, seen)
        except DatabaseUnavailable as error:
            self.log.error("Cannot look up the session of %s, taken as alive: %s", self._log_name, error)
            return None
        return seen.exit_code or 0

    async def stop(self, now: bool = False) -> None:
        """End the session and settle it. Called for a person's stop, the worker's, and a start that failed.

        Never called by a hub that shuts down: then sessions go on.
        """
        child_step = self.child_spawner.step if self.child_spawner is not None else None
        steps = [step for step in (self._step, child_step) if step is not None and not step.done()]
        if steps:
            await asyncio.wait(steps)  # A cancelled start may still be writing what we are to undo.
        session = await asyncio.to_thread(self.context.sessions.open_of, self._server_key)
        if session is None:
            return
        # Whoever wants it stopped has written so before. Without a reason it is the hub that gave up on it.
        await asyncio.to_thread(self.context.sessions.ending, session.attempt, EndReason.FAILED, "given up by the hub")
        backend = self._backend(session)
        if backend is None:
            self.log.error("Site %s of attempt %s is no longer configured", session.site, session.attempt)
            return
        patience = 0.0 if now else backend.stop_seconds
        seen = await asyncio.to_thread(backend.asks.end, session.attempt, patience_seconds=patience)
        if seen.life is Life.ENDED:
            await self._close(session, seen)
        else:
            self.log.error("Attempt %s could not be ended: %s; the worker goes on trying", session.attempt, seen.life)

    def note_stop(self) -> None:
        """Write down that somebody wants this session stopped. Blocks; a reason that is there stays."""
        session = self.context.sessions.open_of(self._server_key)
        if session is not None:
            self.context.sessions.ending(session.attempt, EndReason.STOPPED)

    async def get_url(self) -> str:
        """Where the session listens. Asked at a restart of the hub; never raises, for that would end the hub."""
        base_url = self.server.base_url if self.server else "/"
        deadline = asyncio.get_running_loop().time() + _ADDRESS_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            try:
                address = await asyncio.to_thread(self._find_address)
            except Exception:  # whatever it is: raising here ends the hub, and every session's page with it
                self.log.exception("Looking for the address of %s failed", self._log_name)
                address = None
            if address is not None:
                return str(url_path_join(f"http://{address[0]}:{address[1]}", base_url))
            if await self.poll() is not None:
                break
            await asyncio.sleep(_PROGRESS_SECONDS)
        return str(url_path_join(_NO_ADDRESS, base_url))

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Each stage when it is reached, in the language of who looks."""
        said: Stage | None = None
        while True:
            stage = self.stage
            if stage is not said:
                said = stage
                yield {"progress": stage.percent, "message": gettext(stage.text)}
            await asyncio.sleep(_PROGRESS_SECONDS)

    @property
    def waits_for(self) -> Wait | None:
        """What the start waits for, where its stage alone does not say it."""
        return self.child_spawner.wait if self.child_spawner is not None else None

    @property
    def stage(self) -> Stage:
        """How far the start has come."""
        if self.child_spawner is not None:
            return self.child_spawner.stage
        if not self._started_here:
            return Stage.ADOPTING
        return Stage.ADMITTED if self.session else Stage.ASKING

    # --- state: the sessions table is the truth; the hub's own database only names the attempt ----------------

    def get_state(self) -> dict[str, Any]:
        return {"attempt": self.session.attempt} if self.session else {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to load: what the table says now counts more than what was stored then."""

    def clear_state(self) -> None:
        self.session = None
        self.child_spawner = None
        self._secret = ""

    def construct_child(self) -> Child:
        """The child for the present attempt, with explicit arguments.

        wrapspawner's own links traits of the child to ours, limits included, and leaves out arguments that JupyterHub
        passes (wrapspawner 1.0.1, `construct_child`).
        """
        assert self.session is not None
        if self.child_spawner is not None:
            return self.child_spawner
        backend = self.context.backends[self.session.site]
        flavour = self.context.admission.policy.flavours[self.session.flavour]
        self.child_class = backend.child_class
        child = self.child_spawner = backend.child_class(
            user=self.user,
            orm_spawner=self.orm_spawner,
            hub=self.hub,
            authenticator=self.authenticator,
            config=self.config,
            proxy_spec=self.proxy_spec,
            oauth_client_id=self.oauth_client_id,
            oauth_client_allowed_scopes=self.oauth_client_allowed_scopes,
            oauth_access_scopes=self.oauth_access_scopes,
            cookie_options=self.cookie_options,
            cookie_host_prefix_enabled=self.cookie_host_prefix_enabled,
            public_url=self.public_url,
            public_hub_url=self.public_hub_url,
            user_options={},
            cpu_limit=float(flavour.cpu),
            mem_limit=flavour.memory_gib * 2**30,
            sessions=self.context.sessions,
            ledger=self.context.ledger,
            **backend.child_arguments(self.session),
        )
        return child

    # --- inner parts ----------------------------------------------------------------------------------------

    @property
    def _server_key(self) -> Server:
        return Server(self.context.hub, self.user.name, self.name)

    def _attempt(self, token_ids: list[int], away: Mapping[str, Failure] = MappingProxyType({})) -> Session:
        """The open attempt if it can be taken up again, else a new one: intent first, then the reservation.

        `away` are the places that did not take this start, and why.
        """
        context, wish = self.context, self.wish
        if wish is None:
            raise RuntimeError("start() before the options were validated")
        person = context.admission.person(self.user.name)
        previous = context.sessions.open_of(self._server_key)
        if previous is not None:
            taken_up = self._take_up(previous, token_ids) if self._can_take_up(previous, wish) else None
            if taken_up is not None:
                return taken_up
            self._end_now(previous)
        options = context.admission.options(person, wish, away)
        site = choose(options, wish)
        attempt, self._secret = new_id(), secrets.token_urlsafe(32)
        try:
            session = self._intend(attempt, person, wish, options, token_ids)
        except SessionExists as error:
            raise Failure(SERVER_BUSY) from error
        try:
            context.admission.reserve(attempt, person, self._server_key, wish, site)
        except Failure as failure:
            context.sessions.ending(attempt, EndReason.REFUSED, failure.problem.code)
            context.sessions.ended(attempt, started_at=None, ended_at=context.clock())
            failure.reference = reference(attempt)
            raise
        return session

    def _intend(
        self, attempt: str, person: Person, wish: Wish, options: Sequence[Option], token_ids: list[int]
    ) -> Session:
        return self.context.sessions.intend(
            attempt=attempt,
            server=self._server_key,
            person_id=person.id,
            site=options[0].site,
            flavour=wish.flavour,
            environment=wish.environment,
            options=to_options(wish),
            secret_hash=_digest(self._secret),
            token_ids=token_ids,
            account=self.context.admission.account_at(person, options[0].site),
            why_there=[_why_not(option) for option in options[1:]],
        )

    def _can_take_up(self, session: Session, wish: Wish) -> bool:
        same = (session.flavour, session.environment) == (wish.flavour, wish.environment) and wish.site in (
            None,
            session.site,
        )
        # What is only meant, and cannot be asked about, may be there or not: it is neither gone on with nor doubled.
        no_evidence = (Life.ENDED, Life.UNKNOWN) if session.state is SessionState.INTENT else (Life.ENDED,)
        return (
            same
            and resources_in(session.options) == wish.resources
            and self._backend(session) is not None
            and self._observe(session).life not in no_evidence
            and session.exchanged_at is None
            and session.end_reason is None
        )

    def _take_up(self, session: Session, token_ids: list[int]) -> Session | None:
        """Go on with an attempt of before; None if its hold was closed meanwhile, so that nobody would pay for it."""
        person = self.context.admission.person(self.user.name)
        wish = Wish(
            flavour=session.flavour, environment=session.environment, site=session.site,
            resources=resources_in(session.options),
        )  # fmt: skip
        try:
            self.context.admission.reserve(session.attempt, person, self._server_key, wish, session.site)
        except ValueError as error:
            self.log.warning("Attempt %s is not taken up again: %s", session.attempt, error)
            return None
        if session.state is SessionState.INTENT:
            # The hub died right after it was handed over: it is there, and knows its secret.
            self.context.sessions.submitted(session.attempt, self._observe(session).reference or "found")
        for token_id in token_ids:
            self.context.sessions.add_token(session.attempt, token_id)
        self.log.info("Taking up attempt %s of %s again", session.attempt, self._log_name)
        return self.context.sessions.get(session.attempt) or session

    def _end_now(self, session: Session) -> None:
        self.context.sessions.ending(session.attempt, EndReason.STOPPED)
        backend = self._backend(session)
        if backend is not None:
            seen = backend.asks.end(session.attempt, patience_seconds=backend.stop_seconds)
            self._settle(session, seen)

    def _look(self) -> tuple[Session | None, Observation]:
        session = self._open_attempt()
        return session, self._observe(session) if session else Observation(life=Life.UNKNOWN)

    def _open_attempt(self) -> Session | None:
        """What this process started itself is asked of the table; what it found at its start, of one common read."""
        context = self.context
        source = context.sessions.open_of if self._started_here else context.open_attempts.of
        return source(self._server_key)

    def _observe(self, session: Session) -> Observation:
        backend = self._backend(session)
        return backend.asks.observe(session.attempt) if backend else Observation(life=Life.UNKNOWN)

    def _backend(self, session: Session) -> SiteBackend | None:
        return self.context.backends.get(session.site)

    def _find_address(self) -> tuple[str, int] | None:
        session = self._open_attempt()
        if session is None:
            return None
        backend = self._backend(session)
        if session.host and session.port:
            address: tuple[str, int] | None = (session.host, session.port)
        else:
            address = backend.asks.address(session.attempt, session.secret_hash) if backend else None
        if address is not None and session.state is not SessionState.RUNNING:
            # Its start was interrupted by the restart; JupyterHub checks next whether it answers.
            seen = self._observe(session)
            self.context.sessions.located(session.attempt, host=address[0], port=address[1], started_at=seen.started_at)
            self.context.sessions.answered(session.attempt)
        return address

    async def _close(self, session: Session, seen: Observation) -> None:
        await asyncio.to_thread(self._settle, session, seen)

    def _settle(self, session: Session, seen: Observation) -> None:
        if seen.life is Life.ENDED:
            context = self.context
            close(session, seen, sessions=context.sessions, ledger=context.ledger, clock=context.clock)

    async def _note_failure(self, failure: Failure) -> Failure:
        """Write down why the start failed; what the person is told: whoever stopped them has the word."""
        if self.session is None:
            return failure  # refused before there was an attempt
        try:
            failure = await asyncio.to_thread(self._told, self.session.attempt, failure)
        except DatabaseUnavailable:
            self.log.error("Cannot note why attempt %s failed: %s", self.session.attempt, failure)
        failure.reference = reference(self.session.attempt)
        return failure

    def _told(self, attempt: str, failure: Failure) -> Failure:
        if self.context.sessions.ending(attempt, EndReason.FAILED, failure.problem.code):
            return failure
        session = self.context.sessions.get(attempt)
        if session is None or session.end_reason is not EndReason.SUSPENDED:
            return failure
        return Failure(ACCESS_SUSPENDED, {"reason": session.end_detail or ""})

    def _token_ids(self) -> list[int]:
        """The hub's token for this start: each start makes one, and those of interrupted starts nobody else deletes.

        The prefix tells it from the person's others nearly always; comparing hashes takes milliseconds of the loop.
        """
        if not self.api_token:
            return []
        mine = orm.APIToken.find_prefix(self.user.db, self.api_token).filter_by(user_id=self.user.orm_user.id)
        ids = [token.id for token in mine]
        if len(ids) > 1:
            ids = [orm.APIToken.find(self.user.db, self.api_token).id]
        return ids

    async def run_post_stop_hook(self) -> None:
        """Delete the tokens of an attempt that is over, however it came: JupyterHub forgets those of earlier starts."""
        try:
            session = await asyncio.to_thread(self.context.sessions.last_of, self._server_key)
        except DatabaseUnavailable:
            session = None
        if session is None or (session.exchanged_at is not None and session.ended_at is None):
            return
        for token_id in session.token_ids:
            token = self.user.db.get(orm.APIToken, token_id)
            if token is not None and token.user is self.user.orm_user:
                self.user.db.delete(token)
        self.user.db.commit()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """Run a step of start() that a cancellation must not tear: it goes on, and stop() waits for it."""
        self._step = asyncio.ensure_future(asyncio.to_thread(work))
        return await asyncio.shield(self._step)

    def _refuse(self, failure: Failure) -> Refusal:
        wish = self.wish
        asked = {"flavour": wish.flavour, "site": wish.site} if wish is not None else {}
        return Refusal(failure, self.context.ask_url, {name: value for name, value in asked.items() if value})


def _why_not(option: Option) -> dict[str, Any]:
    """A place that was not taken, as it is kept; without a reason it was only not the first."""
    why = option.why_not
    if why is None:
        return {"site": option.site}
    figures = {name: value if isinstance(value, int | float) else str(value) for name, value in why.figures.items()}
    return {"site": option.site, "code": why.problem.code, "figures": figures}


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
