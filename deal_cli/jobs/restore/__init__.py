"""`deal restore`: plan, restore, write, tell."""
