"""The benchmark of the running service on a tiny shop: everything is asked, and the numbers belong together."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from experiments.benchmarks.serving.client import AnswerError, Endpoint, drive
from experiments.benchmarks.serving.run import CONNECTIONS, benchmark_serving, render_serving
from experiments.terminal import terminal
from features.schema import EventType
from training.intent.targets import Target

BUY = Target(name="buy_7d", events=(EventType.PURCHASE,), horizon_days=7)


def test_every_endpoint_is_asked_as_often_in_every_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STELLAR_HOME", str(tmp_path / "home"))
    told: list[str] = []
    result = benchmark_serving(
        4_000,
        lambda stage, *_: told.append(stage),
        requests=45,
        rounds=2,
        targets=(BUY,),
        predictor="logistic",
    )
    assert [row["model"] for row in result["rows"]] == ["no-op", "intent", "recommend"]
    for row in result["rows"]:
        told_of = row["metrics"]
        assert row["n"] == 46 and row["peak_mb"] > 50 and set(row["sd"]) == set(told_of)
        assert 0 < told_of["p50_ms"] <= told_of["p95_ms"] <= told_of["p99_ms"]
        assert told_of["per_second"] == pytest.approx(row["n"] / row["seconds"]) and told_of["cpu_ms"] >= 0
    no_op, *others = result["rows"]
    for row in others:
        over = result["ratios"][f"{row['model']}_p99_over_no_op_ms"]
        assert over == pytest.approx(row["metrics"]["p99_ms"] - no_op["metrics"]["p99_ms"])
    assert result["connections"] == CONNECTIONS and json.loads(json.dumps(result)) == result
    assert {"simulate", "ask"} <= set(told)
    terminal().print(render_serving(result))
    shown = capsys.readouterr()
    assert "p99 over no-op" in (shown.out + shown.err)


class Refusing(BaseHTTPRequestHandler):
    """Answers as a service does that has no champion."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"none")


def test_a_service_that_refuses_is_no_measurement() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        asked = [Endpoint("recommend", "POST /recommend", ['{"user_id": "ann"}'])]
        with pytest.raises(AnswerError, match=r"recommend must answer 200, received .*503"):
            drive(f"http://127.0.0.1:{service.server_port}", asked, 1, 4, 1, 2, os.getpid())
        service.shutdown()
