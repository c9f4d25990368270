"""Preference models, their blend, bundles and tracking."""
