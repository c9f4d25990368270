"""What a person is about to do: predictors of one probability, and whether it may be served as a number."""
