"""Sections on the dense and the pruned program, one module for each library."""
