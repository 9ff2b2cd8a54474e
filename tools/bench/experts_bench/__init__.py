"""The rows that `experts.py` compares, and the table it writes."""
