from __future__ import annotations

from experiments.benchmarks.cells import figure_cell, lift_cell

ROW = {"metrics": {"ndcg@10": 0.12345, "share": 0.5}, "sd": {"ndcg@10": 0.0, "share": 0.0123}}


def test_a_deviation_is_told_of_several_runs_only() -> None:
    assert figure_cell(ROW, "ndcg@10", runs=2) == "0.1235 ±0.0000"
    assert figure_cell(ROW, "ndcg@10", runs=1) == "0.1235"
    assert figure_cell(ROW, "share", runs=5, form=".1%") == "50.0% ±1.2%"


def test_what_a_row_lacks_is_an_empty_cell() -> None:
    assert figure_cell(ROW, "slope", runs=2) == "" and lift_cell(None) == ""


def test_a_difference_is_told_with_its_interval() -> None:
    assert lift_cell({"difference": 0.01, "low": -0.002, "high": 0.022}) == "+0.0100 [-0.0020, +0.0220]"
