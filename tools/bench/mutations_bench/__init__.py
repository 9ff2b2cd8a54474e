"""The errors that `mutations.py` plants, what has to notice them, and the table it writes."""
