"""What an operator watches, in Prometheus's form; BentoML's ``/metrics`` shows it beside its own."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from prometheus_client import Counter, Histogram

#: Seconds; the budget of a page view lies in the middle.
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True, slots=True)
class Meters:
    """The service's counters and histograms, one series per label value; labels have few values by construction."""

    requests: Counter
    latency: Histogram
    impressions: Counter
    events: Counter


@functools.cache
def meters() -> Meters:
    """This process's meters, registered when first asked for: a name can be registered only once."""
    return Meters(
        requests=Counter("stellar_requests", "Requests answered.", ["route", "status"]),
        latency=Histogram("stellar_request_seconds", "Time to answer.", ["route"], buckets=LATENCY_BUCKETS),
        impressions=Counter("stellar_impressions", "Items shown, by level of personalisation.", ["level"]),
        events=Counter("stellar_events", "Events posted, by outcome: accepted or duplicate.", ["outcome"]),
    )


__all__ = ["LATENCY_BUCKETS", "Meters", "meters"]
