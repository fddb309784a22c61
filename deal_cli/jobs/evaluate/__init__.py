"""`deal evaluate`: scores of weights and of classical methods, as tables."""
