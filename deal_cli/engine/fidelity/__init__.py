"""How far a restored picture is from its source, and how far it may be."""
