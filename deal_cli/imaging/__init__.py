"""Pictures: how they come in, travel and go out. No torch in this room."""
