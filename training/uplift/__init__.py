"""What a message or an incentive changes per user, learned from randomised logs."""
