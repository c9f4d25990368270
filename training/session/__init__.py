"""L4 intent: what will still happen in the session that a user is in."""
