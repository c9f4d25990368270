"""Benchmarks of what a person is about to do, on published data."""
