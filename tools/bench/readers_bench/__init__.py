"""What `readers.py` does with one architecture in one precision, and the table it writes."""
