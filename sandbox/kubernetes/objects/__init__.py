"""Objects as requests ask for them: read, listed, deleted, and what follows from a change at once."""
