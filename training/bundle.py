"""A bundle: everything that one policy needs to answer, in one folder, with nothing in it that is executed on load."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import training.zoo  # noqa: F401  # a bundle may hold any registered model
from features.added import UNKNOWN as NO_CATEGORY
from features.digest import Digest, digest_folder
from features.errors import InputError, NotFoundError
from features.ids import UNKNOWN, Vocabulary
from features.known import Known
from features.listings import LastListings
from features.remember import Served
from features.schema import MISSING, Columns, EventType
from features.segments.columns import Row
from features.segments.definitions import Segments
from features.segments.segmented import live_segments
from features.sequences import Histories
from features.snapshot import Snapshot
from features.together import Together
from training.bestsellers import Bestsellers
from training.blend import Blend
from training.intent.heads import UserIntent
from training.intent.values import CustomerValues
from training.recommender import model_class
from training.session.intent import SessionIntent

#: Changed whenever a bundle of the version before cannot be read any more.
FORMAT = 3
ABOUT = "bundle.json"

_KNOWN, _SEGMENTS, _INTENT, _SESSION, _TOGETHER = "known", "segments.json", "intent", "session", "together"
_VALUES = "values"

#: Users whose answers are recorded when the bundle is made and compared when it is loaded to serve.
RECORDED_USERS = 20
RECORDED_ITEMS = 10

#: What one event adds to a question: its item (None for a search), its type and its time.
Event = tuple[str | None, EventType, int]


@dataclass(frozen=True)
class Bundle:
    """A fitted blend, the catalogue and the users as its snapshot knew them.

    Attributes:
        about: ``as_of_ms``, digests of what it was made from, names of the users' attributes, the arm's name.
        blend: Ranks.
        catalogue: Index ``item_id`` in dense order; ``category``, ``available``, and ``brand``, ``title``,
            ``price_cents`` if known.
        sequences: One row per known user.
        policy: The policy's configuration, read by the serving side.
        known: What folds of single users go on from; None in a bundle of a snapshot without it.
        segments: The rules of the snapshot's segments, perhaps none.
        intent: What users are about to do, as far as that was learned.
        session: What will still happen in a session, as far as that was learned.
        values: What customers will be worth, as far as that was learned.
        together: What was bought together; None in a bundle of a snapshot without it.
        recorded: Requests and the answers that the offline path gave to them.
        digest: sha256 over ``about`` and the canonical content of the folder's other files.
    """

    about: Mapping[str, Any]
    blend: Blend
    catalogue: pd.DataFrame
    sequences: Histories
    policy: Mapping[str, Any]
    recorded: Sequence[Mapping[str, Any]]
    digest: str
    known: Known | None = None
    segments: Segments = field(default_factory=lambda: Segments([]))
    intent: UserIntent | None = None
    session: SessionIntent | None = None
    values: CustomerValues | None = None
    together: Together | None = None

    @property
    def as_of_ms(self) -> int:
        """The instant up to which the models have learned."""
        return int(self.about["as_of_ms"])

    @property
    def arm(self) -> str:
        """The experiment's arm that this bundle is."""
        return str(self.about["arm"])

    @cached_property
    def items(self) -> Vocabulary:
        """Dense item ids."""
        return Vocabulary(self.catalogue.index)

    @cached_property
    def users(self) -> Vocabulary:
        """Rows of ``sequences``."""
        return Vocabulary(self.sequences.user_ids)

    @cached_property
    def listings(self) -> LastListings:
        """How items stood when the snapshot was taken."""
        return LastListings(self.catalogue)

    @cached_property
    def segments_of(self) -> Callable[[Row], tuple[str, tuple[str, ...]]]:
        """See ``live_segments``."""
        return live_segments(self.segments)

    @property
    def told(self) -> tuple[str, ...]:
        """Names of the attributes that users told; the others of ``sequences`` follow from what they did."""
        return tuple(self.about["told"])

    def did(self, user_id: str) -> Histories:
        """What the snapshot knows of one user's events, in one row; none if it does not know the user."""
        code = self.users.code(user_id)
        return self.sequences.take(np.array([code] if code != UNKNOWN else [], dtype=np.int64))

    @cached_property
    def available(self) -> NDArray[np.bool_]:
        """(n_items,) bool: items that may be shown."""
        return self.catalogue[Columns.AVAILABLE].to_numpy(dtype=bool)

    @cached_property
    def categories(self) -> NDArray[np.object_]:
        """(n_items,) object: leaf categories, None where the shop never named one."""
        paths = self.catalogue[Columns.CATEGORY].to_numpy(dtype=object, copy=True)
        paths[paths == NO_CATEGORY] = None
        return paths

    @cached_property
    def category_codes(self) -> NDArray[np.int32]:
        """(n_items,) int32: equal where ``categories`` are, -1 where there is none."""
        return pd.factorize(self.categories)[0].astype(np.int32)

    def question(
        self,
        user_id: str,
        now_ms: int,
        events: Sequence[Event] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> Histories:
        """One user at one instant: what the snapshot knows, then ``events`` since, oldest first.

        Attributes told now outrank those of the snapshot; an unknown user has only these.
        """
        known = self.did(user_id)
        told = attributes or {}
        return Histories(
            user_ids=np.array([user_id], dtype=object),
            as_of_ms=np.array([now_ms], dtype=np.int64),
            snapshot_ms=np.array([self.as_of_ms], dtype=np.int64),
            offsets=np.array([0, len(known.items) + len(events)], dtype=np.int64),
            items=np.append(known.items, [self._code(item) for item, _, _ in events]).astype(np.int32),
            event_types=np.append(known.event_types, [kind.code for _, kind, _ in events]).astype(np.int8),
            ts=np.append(known.ts, [ts for _, _, ts in events]).astype(np.int64),
            attributes={
                name: np.array([told.get(name) or (values[0] if len(values) else MISSING)], dtype=object)
                for name, values in known.attributes.items()
            },
        )

    def _code(self, item_id: str | None) -> int:
        return UNKNOWN if item_id is None else self.items.code(item_id)

    def recommend(self, user_ids: Sequence[str], k: int) -> pd.DataFrame:
        """Ranked available items of each user as of the snapshot: rows ``user_id, item_id, rank, score``."""
        tables = []
        for user_id in user_ids:
            ids, scores = self.blend.recommend(self.question(user_id, self.as_of_ms), k, self.available)
            shown = ids[0][ids[0] >= 0]
            tables.append(
                pd.DataFrame(
                    {
                        Columns.USER_ID: user_id,
                        Columns.ITEM_ID: self.items.decode(shown),
                        Columns.RANK: np.arange(1, len(shown) + 1),
                        Columns.SCORE: scores[0][: len(shown)].astype(np.float64),
                    }
                )
            )
        return pd.concat(tables, ignore_index=True)

    def check_recorded(self) -> None:
        """Answer the recorded requests again.

        Raises:
            InputError: An item differs, or a score by more than 1e-5 of the largest: not the same code or data.
        """
        for request in self.recorded:
            answer = self.recommend([request["user_id"]], RECORDED_ITEMS)
            expected = np.array(request["scores"])
            tolerance = 1e-5 * np.abs(expected).max(initial=0)
            same = answer[Columns.ITEM_ID].tolist() == request["items"]
            if not same or not np.allclose(answer[Columns.SCORE], expected, rtol=1e-5, atol=tolerance):
                raise InputError("bundle", "must answer its recorded requests as when it was made", request["user_id"])

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read a bundle.

        Raises:
            NotFoundError: The folder holds none.
            InputError: It is of another format, or its content does not match its digest.
        """
        about, digest = _checked(folder)
        users = pd.read_parquet(folder / "users.parquet")
        with np.load(folder / "sequences.npz", allow_pickle=False) as arrays:
            sequences = Histories(
                user_ids=users.index.to_numpy(dtype=object),
                as_of_ms=np.full(len(users), about["as_of_ms"], np.int64),
                snapshot_ms=np.full(len(users), about["as_of_ms"], np.int64),
                attributes={name: users[name].to_numpy(dtype=object) for name in about["attributes"]},
                **{name: arrays[name] for name in ("offsets", "items", "event_types", "ts")},
            )
        kind = model_class(about["model"])
        if not issubclass(kind, Blend):
            raise InputError(str(folder / ABOUT), "must name a model that blends others", about["model"])
        return cls(
            about=about,
            blend=kind.load(folder / "blend"),
            catalogue=pd.read_parquet(folder / "catalogue.parquet"),
            sequences=sequences,
            policy=json.loads((folder / "policy.json").read_text(encoding="utf-8")),
            recorded=json.loads((folder / "requests.json").read_text(encoding="utf-8")),
            digest=digest,
            known=Known.load(folder / _KNOWN) if (folder / _KNOWN).is_dir() else None,
            segments=Segments.from_json(json.loads((folder / _SEGMENTS).read_text(encoding="utf-8"))),
            intent=UserIntent.load(folder / _INTENT) if (folder / _INTENT).is_dir() else None,
            session=SessionIntent.load(folder / _SESSION) if (folder / _SESSION).is_dir() else None,
            values=CustomerValues.load(folder / _VALUES) if (folder / _VALUES).is_dir() else None,
            together=Together.load(folder / _TOGETHER) if (folder / _TOGETHER).is_dir() else None,
        )


def save_bundle(
    folder: Path,
    blend: Blend,
    snapshot: Snapshot,
    *,
    arm: str,
    policy: Mapping[str, Any],
    intent: UserIntent | None = None,
    session: SessionIntent | None = None,
    values: CustomerValues | None = None,
) -> Bundle:
    """Write a bundle of a blend fitted on ``snapshot`` and read it back.

    Args:
        folder: Must not exist yet.
        snapshot: Profiles of users and what is bought together need one that ``features.remember`` made.
        arm: The experiment's arm, which every answer names.
        policy: Configuration of the policy.
        intent: Heads that were fitted as of the snapshot's instant.
        session: Fitted on the same snapshot.
        values: Fitted as of the snapshot's instant.
    """
    folder.mkdir(parents=True)
    blend.save(folder / "blend")
    wanted = [Columns.CATEGORY, Columns.BRAND, Columns.TITLE, Columns.PRICE_CENTS, Columns.AVAILABLE]
    columns = [name for name in wanted if name in snapshot.item_matrix.columns]
    snapshot.item_matrix[columns].to_parquet(folder / "catalogue.parquet")
    attributes = _attributes(blend, snapshot)
    snapshot.user_matrix[attributes].to_parquet(folder / "users.parquet")
    sequences = snapshot.sequences
    arrays = {name: getattr(sequences, name) for name in ("offsets", "items", "event_types", "ts")}
    np.savez_compressed(folder / "sequences.npz", **arrays)
    (folder / "policy.json").write_text(json.dumps(policy, indent=2), encoding="utf-8")
    segments = snapshot.segments if isinstance(snapshot, Served) and snapshot.segments is not None else Segments([])
    (folder / _SEGMENTS).write_text(json.dumps(segments.as_json(), indent=2), encoding="utf-8")
    if isinstance(snapshot, Served) and snapshot.known is not None:
        snapshot.known.save(folder / _KNOWN)
    if isinstance(snapshot, Served) and snapshot.together is not None:
        snapshot.together.save(folder / _TOGETHER)
    if intent is not None:
        intent.save(folder / _INTENT)
    if session is not None:
        session.save(folder / _SESSION)
    if values is not None:
        values.save(folder / _VALUES)
    about = {
        "format": FORMAT,
        "arm": arm,
        "model": blend.name,
        "as_of_ms": snapshot.as_of_ms,
        "snapshot_digest": snapshot.digest,
        "source_digest": snapshot.source_digest,
        "attributes": attributes,
        "told": list(snapshot.attributes),
    }
    unrecorded = Bundle(about, blend, snapshot.item_matrix[columns], sequences, policy, (), "")
    (folder / "requests.json").write_text(json.dumps(_record(unrecorded), indent=2), encoding="utf-8")
    digest = _digest(folder, about)
    (folder / ABOUT).write_text(json.dumps({**about, "digest": digest}, indent=2), encoding="utf-8")
    return Bundle.load(folder)


def _attributes(blend: Blend, snapshot: Snapshot) -> list[str]:
    """The demographic attributes, and of what users did only those groups that a part of the blend ranks by."""
    links = [name for part in blend.parts.values() if isinstance(part, Bestsellers) for name in part.by]
    return list(dict.fromkeys((*snapshot.attributes, *links)))


def _checked(folder: Path) -> tuple[dict[str, Any], str]:
    """What a bundle says about itself and its digest, if both are as they were written."""
    path = folder / ABOUT
    if not path.is_file():
        raise NotFoundError("bundle", f"must hold {ABOUT}", str(folder), "run `stellar promote` to make a champion")
    again = "it was changed or cut short; train it again"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about.get("format") != FORMAT:
            raise InputError("bundle", f"must be of format {FORMAT}", about.get("format"), "train it again")
        digest = _digest(folder, about)
    except (ValueError, AttributeError, EOFError, KeyError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError("bundle", "must be readable", str(error), again) from error
    if digest != about.get("digest"):
        raise InputError("bundle", "must match its digest", digest, again)
    return about, digest


def _digest(folder: Path, about: Mapping[str, Any]) -> str:
    described = {name: value for name, value in about.items() if name != "digest"}
    return Digest().add("about", described).add("content", digest_folder(folder, without=(ABOUT,))).hexdigest()


def _record(bundle: Bundle) -> list[dict[str, Any]]:
    """Answers to users evenly spread over the vocabulary, and to one whom nobody knows."""
    spread = np.unique(np.linspace(0, len(bundle.users) - 1, RECORDED_USERS).astype(int))
    requests = []
    for user_id in [*bundle.users.ids[spread], "\N{BALLOT X} unknown"]:
        answer = bundle.recommend([user_id], RECORDED_ITEMS)
        items, scores = answer[Columns.ITEM_ID].tolist(), answer[Columns.SCORE].tolist()
        requests.append({"user_id": user_id, "items": items, "scores": scores})
    return requests


__all__ = ["Bundle", "Event", "save_bundle"]
