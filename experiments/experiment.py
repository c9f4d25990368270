"""An experiment as a typed file: which arms, on which data, judged by what."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

import training.zoo  # noqa: F401  # makes all models known by name
from experiments.verdict import MIN_USERS
from features.errors import ConfigError, InputError, NotFoundError
from features.segments.definitions import SegmentRule
from features.split import Group, Moment
from serving.policy import PolicyConfig
from training.blend import Blend
from training.configured import config_error
from training.intent.fit import PREDICTORS, build_predictors
from training.intent.targets import Target
from training.intent.value_targets import ValueTarget
from training.recommender import model_class
from training.session.outcomes import SessionTarget

METRICS = ("ndcg", "recall", "mrr", "purchases")

#: Ten years: a longer label window is a mistake.
MAX_HORIZON_DAYS = 3_650.0

#: What names become files by.
NAME = r"^[\w .-]+$"


class Experiment(BaseModel):
    """What ``stellar compare`` reads.

    Attributes:
        data: Folder of a data set, relative to the experiment's file.
        as_of: An instant or a share of the events; the last midnight that leaves a whole horizon if absent.
        horizon_days: Length of the label window; up to the end of the data if ``as_of`` is a share.
        k: Length of the lists.
        metric: What decides: one of ndcg, recall, mrr, purchases, at ``k``.
        group: Whose users decide; the other groups are reported.
        replay: Users are asked at the snapshot's instant, or in the middle of their first session after it.
        control: The arm that the others must beat.
        arms: By name: ``{model: NAME, hyper-parameters}`` or ``{recommendations: FILE}``.
        register: Arms whose bundles are registered; those that combine others if absent, else all but the control.
        segments: Rules of segments, or the YAML file that has them, relative to the experiment's file: models may group
            users by them, and the service says who belongs to which.
        intents: What is predicted of users besides: ``{name, events, horizon_days, absent, category}`` each; none if
            absent.
        predictors: What predicts them, by name: ``{predictor: NAME, hyper-parameters}``. The best on users that it has
            not learned from is served; in the label window the others are judged against the first.
        session_intents: What is predicted of sessions: ``{name, events, absent, with_cart}`` each; none if absent.
        values: What is expected of customers, orders and money: ``{name, horizon_days}`` each; none if absent.
        policy: Configuration of the registered bundles' policy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, pattern=NAME)
    data: Path
    as_of: str | None = None
    horizon_days: float | None = Field(default=None, gt=0, le=MAX_HORIZON_DAYS)
    k: int = Field(default=20, ge=1, le=1000)
    metric: str = "ndcg"
    group: Group = Group.HOT
    replay: Moment = Moment.AS_OF
    control: str
    arms: dict[str, dict[str, Any]] = Field(min_length=2)
    register_: tuple[str, ...] | None = Field(default=None, alias="register")
    segments: tuple[SegmentRule, ...] | Path | None = None
    intents: tuple[Target, ...] = ()
    predictors: dict[str, dict[str, Any]] = {name: dict(each) for name, each in PREDICTORS.items()}
    session_intents: tuple[SessionTarget, ...] = ()
    values: tuple[ValueTarget, ...] = ()
    policy: dict[str, Any] = {}
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=2000, ge=200)
    min_users: int = Field(default=MIN_USERS, ge=1)
    seed: int = Field(default=0, ge=0)

    @field_validator("segments", mode="before")
    @classmethod
    def _rules_or_file(cls, value: object) -> object:
        """Complaints are about what was meant, not about all that it could have been."""
        if isinstance(value, list):
            return tuple(SegmentRule.model_validate(rule) for rule in value)
        return Path(value) if isinstance(value, str) else value

    @field_validator("as_of", mode="before")
    @classmethod
    def _dates_are_text(cls, value: object) -> object:
        """YAML reads 2011-11-09 as a date."""
        return value if value is None or isinstance(value, str) else str(value)

    def checked(self) -> Experiment:
        """This experiment; a ConfigError where its parts do not fit together."""
        if self.metric not in METRICS:
            raise ConfigError("metric", f"must be one of {', '.join(METRICS)}", self.metric)
        if self.control not in self.arms:
            raise ConfigError("control", "must be one of the arms", self.control, f"choose from {', '.join(self.arms)}")
        for name, arm in self.arms.items():
            if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
                raise ConfigError("arms", "must have names of letters, digits, _, - and .", name, "they name files")
            if ("model" in arm) == ("recommendations" in arm):
                raise ConfigError(f"arms.{name}", "must have either model or recommendations", ", ".join(arm) or "{}")
            extra = set(arm) - {"recommendations"}
            if "recommendations" in arm and extra:
                raise ConfigError(f"arms.{name}.{min(extra)}", "is not a known key", mend="remove it")
            if not isinstance(arm.get("recommendations", ""), str | Path):
                raise ConfigError(f"arms.{name}.recommendations", "must be a path", arm["recommendations"])
        build_predictors(self.predictors)
        for name in self.register_ or ():
            if name not in self.arms or "model" not in self.arms[name]:
                raise ConfigError("register", "must be arms with a model", name)
        # ``POST /intent`` is asked about targets of all kinds by their names alone.
        targets = [each.name for each in self.intents]
        targets += [each.name for each in self.session_intents] + [each.name for each in self.values]
        if twice := next((each for each in targets if targets.count(each) > 1), None):
            fields = "intents, session_intents, values"
            raise ConfigError(fields, "must have different names", twice, "rename one")
        try:
            PolicyConfig.model_validate(self.policy).checked()
        except ValidationError as error:
            raise config_error("policy", error) from None
        return self

    @property
    def models(self) -> dict[str, dict[str, Any]]:
        """The arms that are fitted here."""
        return {name: arm for name, arm in self.arms.items() if "model" in arm}

    @property
    def files(self) -> dict[str, Path]:
        """The arms that were made elsewhere."""
        return {name: Path(arm["recommendations"]) for name, arm in self.arms.items() if "recommendations" in arm}

    @property
    def registered(self) -> tuple[str, ...]:
        """Arms whose bundles are registered."""
        if self.register_ is not None:
            return self.register_
        blends = tuple(name for name, arm in self.models.items() if issubclass(model_class(arm["model"]), Blend))
        return blends or tuple(name for name in self.models if name != self.control)


def make_experiment(**fields: Any) -> Experiment:
    """An experiment from its fields; ConfigError instead of pydantic's report."""
    try:
        return Experiment(**fields).checked()
    except ValidationError as error:
        raise config_error("experiment", error) from None


def read_experiment(path: Path) -> Experiment:
    """Read a YAML file; the paths in it are relative to its folder.

    Raises:
        NotFoundError, InputError, ConfigError: It is missing, not YAML, or not an experiment.
    """
    if not path.is_file():
        raise NotFoundError(str(path), "must be a file", mend="give the path of an experiment in YAML")
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(str(path), "must be YAML", str(error).splitlines()[0], "correct it") from None
    if not isinstance(fields, dict):
        raise InputError(str(path), "must hold keys and values", type(fields).__name__, "see README, Compare")
    experiment = make_experiment(**{str(key): value for key, value in fields.items()})
    folder = path.parent
    arms = {
        name: {"recommendations": folder / arm["recommendations"]} if "recommendations" in arm else arm
        for name, arm in experiment.arms.items()
    }
    segments = folder / experiment.segments if isinstance(experiment.segments, Path) else experiment.segments
    return experiment.model_copy(update={"data": folder / experiment.data, "arms": arms, "segments": segments})


__all__ = ["METRICS", "Experiment", "make_experiment", "read_experiment"]
