"""Named groups of users as of an instant: by rules in a small language, by recency and value, and by behaviour."""
