"""What we claim about a GPU, checked and timed in one go: ``python -m benchmarks.gpu``."""
