"""`deal bench`: pictures a second, and how near the best of the machine."""
