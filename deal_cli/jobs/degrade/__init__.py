"""`deal degrade`: plan, degrade, write, and the records that replay."""
