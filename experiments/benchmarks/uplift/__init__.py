"""How well uplift models rank users by what a message changes."""
