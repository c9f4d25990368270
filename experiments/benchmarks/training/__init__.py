"""How long training takes to reach what a peer library reaches in its own time."""
