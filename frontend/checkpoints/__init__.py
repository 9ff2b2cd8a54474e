"""A model on disk: what is wrong with it, what it is, and how its parts are loaded."""
