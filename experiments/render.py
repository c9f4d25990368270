"""A comparison's report as people read it: a table of the arms, and a sentence per verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.conversation import Conversation

_STYLES = {"ship": "bold green", "hold": "bold red", "cannot_tell": "yellow"}


def render_report(report: dict[str, Any]) -> RenderableType:
    """The arms, best first, with intervals, lift and verdict; the other groups of users below in a line each."""
    metric, k = report["metric"], report["metric"].split("@")[1]
    asked = f"as of {report['as_of']}, buying until {report['until']}"
    title = f"{report['experiment']}: {report['n_users']:,} {report['group']} users, {asked}"
    table = Table(title=title, title_justify="left", title_style="bold")
    shown = list(dict.fromkeys([metric, f"ndcg@{k}", f"recall@{k}", f"purchases@{k}"]))
    table.add_column("arm", no_wrap=True)
    for name in [*shown, f"lift over {report['control']}", "verdict"]:
        table.add_column(name, justify="right", no_wrap=True)
    ranked = sorted(report["arms"].items(), key=lambda arm: -arm[1].get(metric, {}).get("mean", 0.0))
    for name, arm in ranked:
        cells = [_interval(arm[each]) if each in arm else "" for each in shown]
        verdict = arm.get("verdict", "control" if name == report["control"] else "")
        lift = arm.get("lift")
        change = _interval(lift, "difference", "+.4f") if lift else ""
        if not arm.get("judged", True):
            verdict = "not judged"
        table.add_row(name, *cells, change, Text(verdict, style=_STYLES.get(verdict, "dim")))
    lines = [_levels(name, arm["levels"]) for name, arm in ranked if arm.get("levels")]
    for name, groups in report["combined"].items():
        lines += [_gain(name, group, gain) for group, gain in groups.items()]
    for name, group in report["groups"].items():
        if group["n_users"]:
            best = max(group["arms"].items(), key=lambda arm: arm[1][metric]["mean"])
            told = "" if group["judged"] else ", too few to judge"
            mean = best[1][metric]["mean"]
            lines.append(Text(f"{group['n_users']:,} {name} users{told}: best is {best[0]} with {metric} {mean:.4f}"))
    lines.append(Text(f"L4: {report['l4']}", style="dim"))
    return Group(table, *lines, *_intents(report["intents"]))


def render_conversation(conversation: Conversation) -> RenderableType:
    """A question to the service and its answer: ranked items with level and reason, or what became of an event."""
    asked = Text(f"{conversation.title}: {json.dumps(conversation.request)}", style="bold")
    answer = conversation.answer
    if "items" not in answer:
        return Group(asked, Text(f"  committed: {answer['accepted']} event"))
    table = Table(box=None, padding=(0, 2))
    for column in ("rank", "item", "score", "level", "reason"):
        table.add_column(column, justify="right" if column in ("rank", "score") else "left")
    for item in answer["items"]:
        table.add_row(str(item["rank"]), item["item_id"], f"{item['score']:.3f}", item["level"], item["reason"])
    return Group(asked, table)


def _intents(intents: dict[str, Any]) -> Iterator[RenderableType]:
    """A table with a line per target and predictor, the one that is served marked; and what could not be measured."""
    measured = {target: told for target, told in intents.items() if "not_measurable" not in told}
    if measured:
        yield _measured(measured)
    for target in intents:
        if target not in measured:
            yield Text(f"{target}: not measurable, {intents[target]['not_measurable']}", style="dim")


def _measured(intents: dict[str, Any]) -> Table:
    table = Table(title="what users were about to do", title_justify="left", title_style="bold")
    table.add_column("target, share of users", no_wrap=True)
    table.add_column("predictor", no_wrap=True)
    for name in ("ROC-AUC", "PR-AUC", "log loss", "Brier", "ECE", "log score gained", "verdict"):
        table.add_column(name, justify="right", no_wrap=True)
    for target, told in intents.items():
        about = f"{target}, {told['share']:.1%} of {told['n_users']:,}"
        for predictor, found in told["predictors"].items():
            cells = [f"{found[name]:.4f}" for name in ("roc_auc", "pr_auc", "log_loss", "brier", "ece")]
            change = _interval(found["lift"], "difference", "+.4f") if "lift" in found else ""
            verdict = found.get("verdict", "")
            served = " (served)" if predictor == told["chosen"] else ""
            table.add_row(about, predictor + served, *cells, change, Text(verdict, style=_STYLES.get(verdict, "dim")))
            about = ""
    return table


def _interval(value: dict[str, float | None], name: str = "mean", form: str = ".4f") -> str:
    low, high = (format(value[end], form) if value[end] is not None else "?" for end in ("low", "high"))
    return f"{value[name]:{form}} [{low}, {high}]"


def _gain(name: str, group: str, gain: dict[str, Any]) -> Text:
    told = f"{name} over {gain['best_single']}, the best single model of {gain['n_users']:,} {group} users: "
    if gain["relative"] is None:
        return Text(f"{told}{gain['difference']:+.4f}")
    ends = [format(gain[end], "+.1%") if gain[end] is not None else "?" for end in ("relative_low", "relative_high")]
    return Text(f"{told}{gain['relative']:+.1%} [{', '.join(ends)}]")


def _levels(name: str, levels: dict[str, dict[str, float]]) -> Text:
    parts = [f"{level} {share['shown']:.0%}/{share['caught']:.0%}" for level, share in levels.items()]
    return Text(f"{name}, share of items shown / of purchases caught by level: {', '.join(parts)}")


__all__ = ["render_conversation", "render_report"]
