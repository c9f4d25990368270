"""What README shows is what the program takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
import yaml
from click import Command, Context

import stellar
from experiments.experiment import make_experiment
from features.contracts import CONTRACTS
from features.segments.columns import Type
from features.segments.definitions import make_segments
from training.train import build_models

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = sorted(
    {line.split("#")[0].strip() for _, block in BLOCKS for line in block.splitlines() if line.startswith("stellar ")}
)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_shown_is_one_that_the_program_takes(line: str) -> None:
    command: Command = typer.main.get_command(stellar.app)
    words = line.split()[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    context = Context(command)
    command.parse_args(context, words)


@pytest.mark.parametrize("block", [block for language, block in BLOCKS if language == "yaml" and "arms:" in block])
def test_an_experiment_shown_is_one(block: str) -> None:
    shown = yaml.safe_load(block)
    # Some blocks show but the fields they speak of.
    whole = {"name": "spring", "data": "my-shop", "control": next(iter(shown["arms"]))} | shown
    assert build_models(make_experiment(**whole).models)


def test_one_experiment_is_shown_whole() -> None:
    assert any(language == "yaml" and block.startswith("name:") and "arms:" in block for language, block in BLOCKS)


def test_the_segments_shown_are_some() -> None:
    rules = yaml.safe_load(next(block for language, block in BLOCKS if language == "yaml" and "segments:" in block))
    names = ("purchase_recency_days", "monetary_cents", "frequency", "views_30d")
    schema = {**dict.fromkeys(names, Type.NUMBER), "country": Type.TEXT, "tier": Type.TEXT}
    assert len(make_segments(rules["segments"], schema).names) == 4


@pytest.mark.parametrize("table", ["events", "items", "users", "impressions"])
def test_the_columns_shown_are_the_contract(table: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| `{table}` |"))
    shown = set(re.findall(r"[a-z_]+", re.search(r"`(.*?)`", row.split("|", 2)[2]).group(1)))  # type: ignore[union-attr]
    assert set(CONTRACTS[table].required) <= shown <= set(CONTRACTS[table].columns)


def test_the_pictures_shown_are_there() -> None:
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    for picture in pictures:
        assert (Path(__file__).resolve().parents[1] / picture).stat().st_size > 10_000
