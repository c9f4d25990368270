"""The policy, real-time state and the HTTP service."""
