"""Registered bundles: numbered versions in MLflow, and the aliases that say which of them serves.

A version is the whole bundle folder plus a small code file that answers with it; nothing in it is pickled.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlparse

import pandas as pd

from features.errors import ConfigError, NotFoundError
from features.home import home
from training.revision import stellar_requirement
from training.tracking import Run, client, mlflow

#: The registered model's name.
POLICY = "stellar-policy"
DIGEST_TAG = "bundle_digest"

Alias = Literal["champion", "challenger"]

_CODE = Path(__file__).with_name("pyfunc_model.py")
_BUNDLE_PATH = "artifacts/bundle"
_COMPARE_FIRST = "run `stellar compare`, then `stellar promote`"


@dataclass(frozen=True, slots=True)
class Version:
    """A registered bundle; ``run_id`` is the run that made it and carries its verdict."""

    name: str
    number: int
    run_id: str
    digest: str
    tags: dict[str, str]


def register_bundle(
    run: Run,
    folder: Path,
    *,
    digest: str,
    example_users: list[str],
    name: str = POLICY,
    tags: Mapping[str, str] | None = None,
) -> int:
    """Register a bundle's folder as the next version.

    Args:
        run: The run that made the bundle.
        folder: What ``Bundle.save`` wrote; copied.
        digest: The bundle's digest, kept as a tag.
        example_users: User ids for the model's input example, at least one.
        name: The registered model.
        tags: More tags of the version.

    Returns:
        The version's number, from 1.
    """
    if not folder.is_dir():
        raise NotFoundError("bundle", "must be a folder", str(folder), "save the bundle there first")
    if not example_users:
        raise ConfigError("example_users", "must name at least one user", example_users)
    module, store = mlflow(), client()
    all_tags = {DIGEST_TAG: digest, **(tags or {})}
    logged = store.create_logged_model(run.experiment_id, name=name, source_run_id=run.id, tags=all_tags)
    example = pd.DataFrame({"user_id": example_users, "k": [10] * len(example_users)})
    with tempfile.TemporaryDirectory() as scratch:
        # MLflow keeps the folder's own name, and ``bundle_folder`` must know where to look.
        bundle = shutil.copytree(folder, f"{scratch}/{Path(_BUNDLE_PATH).name}")
        module.pyfunc.save_model(
            f"{scratch}/model",
            python_model=str(_CODE),
            artifacts={"bundle": bundle},
            signature=_signature(module),
            input_example=example,
            pip_requirements=[stellar_requirement()],
            mlflow_model=module.models.Model(run_id=run.id, model_id=logged.model_id, model_uuid=logged.model_id),
        )
        store.log_model_artifacts(logged.model_id, f"{scratch}/model")
    store.finalize_logged_model(logged.model_id, module.entities.LoggedModelStatus.READY)
    store.log_outputs(run.id, [module.entities.LoggedModelOutput(logged.model_id, step=0)])
    _ensure_registered(name)
    source = f"models:/{logged.model_id}"
    made = store.create_model_version(name, source, run.id, tags=all_tags, model_id=logged.model_id)
    return int(made.version)


def set_alias(alias: Alias, version: int, *, name: str = POLICY) -> None:
    """Point an alias at a version; it points at one version at a time."""
    get_version(version, name=name)
    client().set_registered_model_alias(name, alias, str(version))


def tag_version(version: Version, tags: Mapping[str, str]) -> None:
    """Set tags on a version; they stay with it."""
    for key, value in tags.items():
        client().set_model_version_tag(version.name, str(version.number), key, value)


def alias_version(alias: Alias, *, name: str = POLICY) -> Version:
    """The version that an alias points at; NotFoundError if it points at none."""
    with _missing(alias, f"is not set on {name}", mend=_COMPARE_FIRST):
        return _version(client().get_model_version_by_alias(name, alias))


def get_version(number: int, *, name: str = POLICY) -> Version:
    """The version of that number."""
    with _missing("version", f"must be registered as {name}", number, "see the registered models in `stellar ui`"):
        return _version(client().get_model_version(name, str(number)))


def versions(*, name: str = POLICY) -> list[Version]:
    """All versions, newest first."""
    found = client().search_model_versions(f"name = '{name}'", order_by=["version_number DESC"])
    return [_version(each) for each in found]


def champion_folder(*, name: str = POLICY) -> Path:
    """The champion's bundle as a local folder; NotFoundError if there is no champion."""
    return champion(name=name)[0]


def champion(*, name: str = POLICY) -> tuple[Path, int]:
    """``champion_folder`` and the champion's number."""
    version = alias_version("champion", name=name)
    return bundle_folder(version), version.number


def bundle_folder(version: Version) -> Path:
    """A version's bundle as a local folder: the store's own, or a copy under ``home()`` if the store is elsewhere."""
    module = mlflow()
    location = client().get_model_version_download_uri(version.name, str(version.number))
    parts = urlparse(location)
    if parts.scheme in ("", "file"):
        folder = Path(unquote(parts.path)) / _BUNDLE_PATH
        if not folder.is_dir():
            raise NotFoundError("bundle", f"of version {version.number} is gone", str(folder), _COMPARE_FIRST)
        return folder
    copy = home() / "bundles" / version.digest
    if not copy.is_dir():
        copy.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=copy.parent) as scratch:
            source = f"{location}/{_BUNDLE_PATH}"
            fetched = module.artifacts.download_artifacts(artifact_uri=source, dst_path=scratch)
            # A rename, so that a second process sees either nothing or all of it.
            try:
                os.replace(fetched, copy)
            except OSError:
                if not copy.is_dir():
                    raise
    return copy


def _signature(module: Any) -> Any:
    column, schema = module.types.ColSpec, module.types.Schema
    wanted = schema([column("string", "user_id"), column("long", "k")])
    given = schema(
        [column("string", "user_id"), column("string", "item_id"), column("long", "rank"), column("double", "score")]
    )
    return module.models.ModelSignature(inputs=wanted, outputs=given)


def _ensure_registered(name: str) -> None:
    store, module = client(), mlflow()
    try:
        store.create_registered_model(name)
    except module.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _version(found: Any) -> Version:
    return Version(found.name, int(found.version), found.run_id, found.tags.get(DIGEST_TAG, ""), dict(found.tags))


@contextmanager
def _missing(field: str, rule: str, received: object = None, mend: str = "") -> Iterator[None]:
    """MLflow's "not found" in its different spellings as a NotFoundError."""
    try:
        yield
    except mlflow().exceptions.MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise NotFoundError(field, rule, received, mend) from None


__all__ = [
    "DIGEST_TAG",
    "POLICY",
    "Alias",
    "Version",
    "alias_version",
    "bundle_folder",
    "champion",
    "champion_folder",
    "get_version",
    "register_bundle",
    "set_alias",
    "tag_version",
    "versions",
]
