"""What `architectures.py` does with one architecture, and the table it writes."""
