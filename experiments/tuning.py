"""A search for hyper-parameters as the command line asks for it, and the file that its result stands in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from experiments.compare import check_horizon
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError, NotFoundError
from features.home import home
from features.instants import HORIZON_DAYS, parse_instant
from features.schema import DAY_MS
from training.recommender import model_class
from training.train import Notify
from training.tune import METRIC, Task, Tuned, tune


def search(
    dataset: Dataset,
    model: str,
    as_of: str | None,
    horizon_days: float | None,
    *,
    trials: int,
    timeout_s: float | None,
    workers: int,
    storage: str | None,
    out: Path | None,
    seed: int,
    device: str,
    notify: Notify,
) -> tuple[Tuned, Path]:
    """Tune as of an instant, the end of the data if none is named, and write the best configuration.

    Args:
        storage: URL of the study's database; a SQLite file under ``home()`` if absent.
        out: The YAML file; ``tuned/MODEL.yaml`` under ``home()`` if absent.

    Raises:
        StellarError: As ``tune`` does, or the model, the instant or the horizon cannot be used.
    """
    check_horizon(horizon_days)
    fields = model_class(model).Config.model_fields
    with Engine.duckdb() as engine:
        as_of_ms = dataset.last_ms + 1 if as_of is None else parse_instant(as_of, dataset, engine)
    home().mkdir(parents=True, exist_ok=True)
    task = Task(
        folder=dataset.folder.resolve(),
        model=model,
        as_of_ms=as_of_ms,
        horizon_ms=round((horizon_days or HORIZON_DAYS) * DAY_MS),
        storage=storage or f"sqlite:///{home() / 'tuning.db'}",
        seed=seed,
        fixed={name: value for name, value in (("seed", seed), ("device", device)) if name in fields},
    )
    tuned = tune(task, trials=trials, timeout_s=timeout_s, workers=workers, notify=notify)
    path = out or home() / "tuned" / f"{model}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"# {METRIC} {tuned.score:.4f} over {tuned.n_users} users, the best of study {tuned.study}\n"
    path.write_text(head + yaml.safe_dump(tuned.specification, sort_keys=False), encoding="utf-8")
    return tuned, path


def read_configuration(path: Path, model: str) -> dict[str, Any]:
    """Hyper-parameters from a YAML file like the one that ``search`` writes.

    Raises:
        NotFoundError: There is no file.
        ConfigError: It is no mapping, or is about another model.
    """
    if not path.is_file():
        raise NotFoundError("--config", "must be a file", str(path), "write one with `stellar tune`")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError("--config", f"must be YAML: {' '.join(str(error).split())}", str(path)) from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError("--config", "must map hyper-parameters to values", str(path))
    own = {**content}
    named = own.pop("model", model)
    if named != model:
        raise ConfigError("--config: model", f"must be {model}, which is to be trained", named)
    return own


__all__ = ["read_configuration", "search"]
