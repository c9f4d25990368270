"""The feature dictionary: what every column of the matrices means, generated from the declarations."""
