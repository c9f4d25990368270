"""Arms, replay, statistics, verdicts, reports and benchmarks."""
