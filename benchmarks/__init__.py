"""What we claim about speed, memory and size, measured beside the rivals: ``python -m benchmarks --list``."""
