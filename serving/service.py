"""The HTTP service: an ASGI application over state, bundle and policy, run by BentoML.

BentoML brings workers, ``/livez``, ``/metrics`` and shutdown. Our routes are mounted as an ASGI application: measured,
that costs half of what BentoML's own ``@api`` methods do, and errors take our form.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import bentoml
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from features.errors import NotFoundError, StellarError
from features.schema import Level, Purpose
from serving import contracts, server
from serving.bodies import json_body
from serving.contracts import RequestError
from serving.intent_answer import IntentAnswer, IntentRequest
from serving.metrics import meters
from serving.openapi import openapi_document
from serving.persons import Links, no_links
from serving.posted import CLOCK_SKEW_MS, EventsAnswer, parse_events
from serving.profile_answer import ProfileRequest
from serving.recommend_answer import RecommendAnswer, RecommendRequest, ShownItem, UnrankedItem
from serving.related_answer import RelatedAnswer, RelatedRequest
from serving.rows import Impression, Seen
from serving.state import State

if TYPE_CHECKING:
    from serving.policy import Slate
    from serving.profile_answer import Profile, RefusedProfile
    from training.bundle import Bundle

#: Live events of one user that a policy sees at most, the latest.
MAX_LIVE_EVENTS = 1_000

#: Threads that decide. Deciding is computing: four, which take turns at the interpreter, answered 201 questions of
#: intent a second where one answers 434, and a third sooner at the 99th percentile.
THREADS = 1

_LEVELS = {level.label: level for level in Level}

_log = logging.getLogger("bentoml.stellar")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Backend:
    """What one worker answers from: the state, the champion or why there is none, and the clock in epoch milliseconds.

    Without a champion it accepts events, but recommends nothing.

    Attributes:
        version: The number under which the champion is registered; None if the bundle came from a folder.
    """

    state: State
    bundle: Bundle | StellarError
    clock: Callable[[], int] = _now_ms
    version: int | None = None

    @classmethod
    def from_environment(cls) -> Backend:
        """Open the state at ``STELLAR_STATE`` and the bundle at ``STELLAR_BUNDLE``, else the registered champion.

        Raises:
            StellarError: The state cannot be opened.
        """
        state = State.open(os.environ.get(server.STATE_VARIABLE) or server.default_state_url())
        # Imported here because BentoML imports this module in its supervisor too, which has no use for the models.
        from training.bundle import Bundle

        try:
            folder, version = _bundle_folder()
            bundle = Bundle.load(folder)
            bundle.check_recorded()
            if bundle.known is not None:
                bundle.known.prepare()
            if bundle.intent is not None:
                bundle.intent.prepare()
            if bundle.values is not None:
                bundle.values.prepare()
            return cls(state, bundle, version=version)
        except StellarError as problem:
            _log.warning("no champion: %s", problem)
            return cls(state, problem)

    def champion(self) -> Bundle:
        """The bundle, or a NotFoundError that says how to get one."""
        if isinstance(self.bundle, StellarError):
            raise NotFoundError(self.bundle.field, self.bundle.rule, mend=self.bundle.mend)
        return self.bundle

    def recommend(self, asked: RecommendRequest) -> tuple[RecommendAnswer, list[Impression]]:
        """Decide on a slate from the person's recent events; what it shows is for the caller to record.

        Raises:
            NotFoundError: There is no bundle.
            StateError: The user's events cannot be read.
        """
        from serving import policy

        bundle = self.champion()
        now_ms = self.clock()
        until_ms = now_ms + CLOCK_SKEW_MS + 1
        person = self.state.recent(asked.user_id, bundle.as_of_ms, until_ms, MAX_LIVE_EVENTS, _links(bundle))
        # A client's clock may run ahead, and what it posted this very millisecond counts: the question comes after it.
        now_ms = max(now_ms, person.events[-1].ts + 1 if person.events else 0)
        question = policy.Request(
            user_id=person.user_id,
            k=asked.wanted,
            surface=asked.surface.value,
            attributes=asked.attributes,
            item_id=asked.item_id,
            now_ms=now_ms,
            exclude=asked.exclude,
            candidates=asked.candidates,
            visitors=person.visitors,
            personal=_may_be_read(bundle, [person.user_id, *person.visitors]),
        )
        slate = policy.decide(question, person.events, bundle)
        return _answer(asked, slate, bundle.as_of_ms, now_ms)

    def profile(self, asked: ProfileRequest) -> Profile | RefusedProfile:
        """Everything known of one person, now.

        Raises:
            NotFoundError: There is no bundle, or it knows nothing of single users.
            RequestError: Nothing is known of the user (404).
            StateError: What the person did cannot be read.
        """
        from serving.profile import LISTED, profile

        bundle = self.champion()
        seen, now_ms = self._seen(asked.user_id, bundle, LISTED)
        return profile(asked.user_id, seen, bundle, now_ms)

    def intent(self, asked: IntentRequest) -> IntentAnswer:
        """What one person is about to do.

        Raises:
            NotFoundError: There is no bundle, or it has no heads of intent.
            RequestError: Nothing is known of the user (404), or a target is unknown (422).
            StateError: What the person did cannot be read.
        """
        from serving.intent import intent

        bundle = self.champion()
        # Of somebody whom the snapshot does not know, one impression tells that they were ever shown anything.
        known = bundle.known is not None and asked.user_id in bundle.known.ids
        seen, now_ms = self._seen(asked.user_id, bundle, 0 if known else 1)
        return intent(asked.user_id, asked.targets, seen, bundle, now_ms, self.version)

    def related(self, asked: RelatedRequest) -> tuple[RelatedAnswer, list[Impression]]:
        """What goes with an item or a cart; what it shows to somebody is for the caller to record.

        Raises:
            NotFoundError: There is no bundle, or it does not know what is bought together.
            RequestError: No anchor is known (404).
        """
        from serving.related import impressions, related

        answer = related(asked, self.champion(), self.clock(), uuid.uuid4().hex)
        return answer, impressions(answer, asked.user_id)

    def _seen(self, user_id: str, bundle: Bundle, listed: int) -> tuple[Seen, int]:
        """What a person did and was shown since the snapshot, at most ``listed`` impressions one by one, and now."""
        from features.cells import shift_ms
        from serving.profile import MAX_EVENTS

        now_ms = self.clock()
        until_ms = now_ms + CLOCK_SKEW_MS + 1
        most = (MAX_EVENTS, listed)
        seen = self.state.seen(user_id, bundle.as_of_ms, until_ms, shift_ms(bundle.as_of_ms), most, _links(bundle))
        newest_ms = seen.recent.events[-1].ts + 1 if seen.recent.events else 0
        return seen, max(now_ms, newest_ms)


class Api:
    """The ASGI application: routes, limits on bodies, errors in one form. ``backend`` is set once the worker starts."""

    def __init__(self, backend: Backend | None = None) -> None:
        self.backend = backend
        self._threads = anyio.CapacityLimiter(THREADS)
        self._routes: dict[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
            "/recommend": ("POST", self._recommend),
            "/events": ("POST", self._events),
            "/intent": ("POST", self._intent),
            "/profile": ("GET", self._profile),
            "/related": ("POST", self._related),
            "/readyz": ("GET", self._ready),
            "/openapi.json": ("GET", self._openapi),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        started = time.perf_counter()
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)
        route = request.url.path if request.url.path in self._routes else "other"
        meters().requests.labels(route, str(response.status_code)).inc()
        meters().latency.labels(route).observe(time.perf_counter() - started)

    async def _respond(self, request: Request) -> Response:
        path = request.url.path
        try:
            if path not in self._routes:
                raise RequestError(404, "path", "is not a route", path, "see /openapi.json")
            method, handle = self._routes[path]
            if request.method != method:
                raise RequestError(405, "method", f"must be {method}", request.method, f"send {method} {path}")
            return await handle(request)
        except StellarError as error:
            return _json(contracts.error_answer(error), contracts.status_of(error))
        except ClientDisconnect:
            raise
        except Exception:  # a defect of ours: the log gets the traceback, the caller does not
            _log.exception("%s %s failed", request.method, path)
            defect = StellarError("service", "could not answer", mend="repeat the request; the server's log says why")
            return _json(contracts.error_answer(defect), 500)

    async def _recommend(self, request: Request) -> Response:
        backend = self._backend()
        asked = contracts.parse_body(RecommendRequest, await json_body(request))
        answer, shown = await anyio.to_thread.run_sync(backend.recommend, asked, limiter=self._threads)
        return await self._shown(answer, shown)

    async def _related(self, request: Request) -> Response:
        asked = contracts.parse_body(RelatedRequest, await json_body(request))
        answer, shown = await anyio.to_thread.run_sync(self._backend().related, asked, limiter=self._threads)
        return await self._shown(answer, shown)

    async def _shown(self, answer: Any, shown: list[Impression]) -> Response:
        """The answer, once what it shows is committed."""
        if shown:
            await asyncio.wrap_future(self._backend().state.submit_impressions(shown))
        for impression in shown:
            meters().impressions.labels(impression.level.label).inc()
        return _json(answer)

    async def _events(self, request: Request) -> Response:
        backend = self._backend()
        events = parse_events(await json_body(request), backend.clock())
        accepted, duplicates = await asyncio.wrap_future(backend.state.submit_events(events))
        meters().events.labels("accepted").inc(accepted)
        meters().events.labels("duplicate").inc(duplicates)
        event_ids = [event.event_id for event in events]
        return _json(EventsAnswer(accepted=accepted, duplicates=duplicates, event_ids=event_ids))

    async def _intent(self, request: Request) -> Response:
        backend = self._backend()
        asked = contracts.parse_body(IntentRequest, await json_body(request))
        return _json(await anyio.to_thread.run_sync(backend.intent, asked, limiter=self._threads))

    async def _profile(self, request: Request) -> Response:
        backend = self._backend()
        asked = contracts.parse_query(ProfileRequest, request.query_params.multi_items())
        return _json(await anyio.to_thread.run_sync(backend.profile, asked, limiter=self._threads))

    async def _ready(self, request: Request) -> Response:
        bundle = self._backend().champion()
        return Response(json.dumps({"ready": True, "bundle_digest": bundle.digest}), media_type="application/json")

    async def _openapi(self, request: Request) -> Response:
        return Response(openapi_document(StellarService.__doc__ or ""), media_type="application/json")

    def _backend(self) -> Backend:
        if self.backend is None:
            raise NotFoundError("service", "is still starting", mend="wait for /readyz")
        return self.backend


class Readiness:
    """ASGI middleware that answers ``/readyz`` by the API: BentoML's own would be ready without a champion."""

    def __init__(self, app: ASGIApp, api: Api) -> None:
        self._app, self._api = app, api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to whom it concerns."""
        ours = scope["type"] == "http" and scope["path"] == "/readyz"
        await (self._api if ours else self._app)(scope, receive, send)


def _bundle_folder() -> tuple[Path, int | None]:
    """Where the bundle lies, and under which number it is registered, if it is."""
    if folder := os.environ.get(server.BUNDLE_VARIABLE):
        number = os.environ.get(server.VERSION_VARIABLE)
        return Path(folder), int(number) if number else None
    from training.registry import champion

    return champion()


def _links(bundle: Bundle) -> Links:
    """Merges that the bundle's snapshot knew of."""
    return no_links if bundle.known is None else bundle.known.links


def _may_be_read(bundle: Bundle, ids: list[str]) -> bool:
    """Whether the person of these ids has not refused personalisation."""
    return bundle.known is None or Purpose.PERSONALISATION in bundle.known.consents(ids).purposes


def _answer(
    asked: RecommendRequest, slate: Slate, as_of_ms: int, now_ms: int
) -> tuple[RecommendAnswer, list[Impression]]:
    request_id = uuid.uuid4().hex
    answer = RecommendAnswer(
        request_id=request_id,
        user_id=asked.user_id,
        surface=asked.surface,
        items=[
            ShownItem(item_id=i.item_id, rank=i.rank, score=i.score, level=i.level, reason=i.reason)
            for i in slate.items
        ],
        unranked=[UnrankedItem(item_id=item_id, why=why) for item_id, why in slate.unranked.items()],
        bundle_digest=slate.bundle_digest,
        arm=slate.arm,
        as_of_ms=as_of_ms,
        served_ms=now_ms,
        ages=slate.ages,
        notes=slate.notes,
    )
    shown = [
        Impression(
            request_id=request_id,
            user_id=asked.user_id,
            surface=asked.surface.value,
            item_id=item.item_id,
            rank=item.rank,
            score=item.score,
            level=_LEVELS[item.level],
            propensity=item.propensity,
            arm=slate.arm,
            bundle_digest=slate.bundle_digest,
            ts=now_ms,
        )
        for item in slate.items
    ]
    return answer, shown


def _json(answer: Any, status: int = 200) -> Response:
    return Response(answer.model_dump_json(), status_code=status, media_type="application/json")


api = Api()


class StellarService:
    """Ranked items per user, from events as they arrive."""

    def __init__(self) -> None:
        server.follow_launcher()
        api.backend = Backend.from_environment()

    @bentoml.on_shutdown
    def close(self) -> None:
        """Commit what is waiting."""
        if api.backend is not None:
            api.backend.state.close()


#: What ``bentoml serve serving.service:stellar`` runs.
stellar = bentoml.service(name=server.SERVICE_NAME)(StellarService)
stellar.mount_asgi_app(api)
stellar.add_asgi_middleware(Readiness, api=api)
