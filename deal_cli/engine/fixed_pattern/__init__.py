"""What stands still in a sequence while the scene moves."""
