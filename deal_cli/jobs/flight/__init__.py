"""What a run did to its pictures, in figures for people: kind by kind."""
