"""What several benches use: the machine's description, and one language model pruned many ways."""
