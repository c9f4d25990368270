"""The data card: what a data set holds, whether it drifts, and what can be learned from it, as JSON and as a page."""
