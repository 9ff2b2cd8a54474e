"""The rows that `quality.py` compares, and the table it writes."""
