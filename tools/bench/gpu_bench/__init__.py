"""What `gpu.py` runs: sections on two subjects, and the tools that these share."""
