"""Runs in MLflow: what was trained or compared, on which data, with which code, and what came out.

Every call to MLflow goes through ``mlflow()`` and ``client()`` here. They import it on first use, because the import
takes seconds, and keep it silent. Runs are kept in SQLite under ``home()`` unless ``MLFLOW_TRACKING_URI`` names another
store.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import ConfigError
from features.home import home
from training.revision import code_revision

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Without it MLflow's pages open an experiment on its traces of language models instead of its runs.
_KIND = {"mlflow.experimentKind": "custom_model_development"}
PARENT_TAG = "mlflow.parentRunId"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
}
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_LONGEST_VALUE = 500
_BATCH = 100
#: MLflow keeps 36 characters of a data set's digest; the whole one stands in the data set's profile.
_DIGEST_LENGTH = 36


def store_uri() -> str:
    """Where runs and registered models are kept."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


def artifact_root() -> str | None:
    """Where files of new experiments go; None where the store itself decides, as an MLflow server does."""
    return (home() / "artifacts").as_uri() if store_uri().startswith(_DATABASES) else None


def mlflow() -> Any:
    """The module ``mlflow``, quiet and bound to ``store_uri()``."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow as module

    # MLflow reads the wished level at its own import only, which somebody else may have done before.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    uri, chosen = store_uri(), os.environ.get("MLFLOW_TRACKING_URI")
    module.set_tracking_uri(uri)
    if chosen is None:
        # MLflow writes its binding into the environment, where it would overrule a later STELLAR_HOME.
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    return module


def client() -> Any:
    """An ``mlflow.MlflowClient`` on ``store_uri()`` that answers; the first use of a SQLite file creates its tables."""
    return _answering_client(mlflow(), store_uri())


@functools.lru_cache(maxsize=8)
def _answering_client(module: Any, uri: str) -> Any:
    mend = "correct MLFLOW_TRACKING_URI or start the server it names"
    if uri.startswith(("http://", "https://")):
        # Asked first with a deadline of our own: MLflow repeats a refused request for minutes.
        try:
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10).close()
        except urllib.error.HTTPError:
            pass  # A server without this page is a server all the same.
        except (OSError, ValueError) as error:
            raise ConfigError("MLflow store", f"must answer: {error}", _without_password(uri), mend) from None
    try:
        opened = module.MlflowClient(tracking_uri=uri)
        opened.search_experiments(max_results=1)
    except Exception as error:  # MLflow lets errors of every database driver through
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(
            "MLflow store", f"must be usable: {_without_password(reason)}", _without_password(uri), mend
        ) from error
    return opened


def _without_password(text: str) -> str:
    return re.sub(r"://[^\s']*@", "://***@", text)


def mlflow_name(name: str) -> str:
    """Our name of a metric or parameter as MLflow accepts it: ``ndcg@20`` becomes ``ndcg_at_20``."""
    return name.replace("@", "_at_")


def own_name(name: str) -> str:
    """The inverse of ``mlflow_name``."""
    return re.sub(r"_at_(?=\d)", "@", name)


@dataclass(frozen=True, slots=True)
class Run:
    """One open run; each method records at once."""

    id: str
    experiment_id: str
    name: str

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record metrics by our names; ``step`` counts epochs where a metric is a curve."""
        metric, now_ms = mlflow().entities.Metric, time.time_ns() // 1_000_000
        entries = [metric(mlflow_name(name), float(value), now_ms, step or 0) for name, value in metrics.items()]
        for start in range(0, len(entries), _BATCH):
            client().log_batch(self.id, metrics=entries[start : start + _BATCH])

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record parameters; nested ones get dotted names, values over 500 characters are shortened."""
        param = mlflow().entities.Param
        entries = [param(key, value) for key, value in _flatten(params)]
        for start in range(0, len(entries), _BATCH):
            client().log_batch(self.id, params=entries[start : start + _BATCH])

    def log_dataset(self, name: str, digest: str, source: str, counts: Mapping[str, int], context: str) -> None:
        """Record what the run read.

        Args:
            name: The data set's name.
            digest: Our sha256 over its content.
            source: Where it comes from, in words; no folder of this machine.
            counts: Rows, users, items and the like.
            context: What it was for: ``training``, ``validation``, ``test``.
        """
        entities = mlflow().entities
        data = entities.Dataset(
            name=name,
            digest=digest[:_DIGEST_LENGTH],
            source_type="stellar",
            source=json.dumps({"description": source}),
            profile=json.dumps({"digest": digest, **counts}),
        )
        tags = [entities.InputTag("mlflow.data.context", context)]
        client().log_inputs(self.id, [entities.DatasetInput(dataset=data, tags=tags)])

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a file, or of all that is in a folder, with the run."""
        log = client().log_artifacts if path.is_dir() else client().log_artifact
        log(self.id, str(path), folder)

    def log_figure(self, figure: Figure, name: str) -> None:
        """Keep a picture with the run; the name's ending decides its format."""
        client().log_figure(self.id, figure, name)

    def log_dict(self, content: Mapping[str, Any], name: str) -> None:
        """Keep a mapping with the run; the name ends in ``.json`` or ``.yaml``."""
        client().log_dict(self.id, dict(content), name)

    def tag(self, tags: Mapping[str, Any]) -> None:
        """Set tags; a tag that is set twice keeps the later value."""
        for key, value in tags.items():
            client().set_tag(self.id, key, _text(value))


@contextmanager
def run(
    experiment: str,
    name: str,
    *,
    parent_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
) -> Iterator[Run]:
    """Open a run in an experiment, which is created on first use.

    It ends as FINISHED, as FAILED after an exception (whose type becomes the tag ``error``), or as KILLED after Ctrl-C.
    """
    all_tags = {**code_revision(), **(tags or {})}
    if parent_id is not None:
        all_tags[PARENT_TAG] = parent_id
    texts = {key: _text(value) for key, value in all_tags.items()}
    info = client().create_run(_experiment_id(experiment), run_name=name, tags=texts).info
    opened = Run(info.run_id, info.experiment_id, name)
    with _ending(opened):
        opened.log_params(params or {})
        yield opened


@contextmanager
def resumed(run_id: str) -> Iterator[Run]:
    """Open a run again that has ended, or whose process has died; it ends as in ``run``."""
    info = client().get_run(run_id).info
    client().update_run(run_id, status="RUNNING")
    opened = Run(info.run_id, info.experiment_id, info.run_name)
    with _ending(opened):
        yield opened


@contextmanager
def _ending(opened: Run) -> Iterator[None]:
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except Exception as error:
        opened.tag({"error": type(error).__name__})
        raise
    finally:
        client().set_terminated(opened.id, status)


def _experiment_id(name: str) -> str:
    module, store = mlflow(), client()
    known = store.get_experiment_by_name(name)
    if known is not None:
        if known.lifecycle_stage == "deleted":
            raise ConfigError("experiment", "was deleted in MLflow", name, "restore it there or choose another name")
        return str(known.experiment_id)
    try:
        return str(store.create_experiment(name, artifact_location=artifact_root(), tags=_KIND))
    except module.exceptions.MlflowException:
        # Another process may have created it between the question and the attempt.
        known = store.get_experiment_by_name(name)
        if known is None:
            raise
        return str(known.experiment_id)


def _flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield mlflow_name(f"{prefix}{key}"), _text(value)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


__all__ = [
    "PARENT_TAG",
    "Run",
    "artifact_root",
    "client",
    "mlflow",
    "mlflow_name",
    "own_name",
    "resumed",
    "run",
    "store_uri",
]
