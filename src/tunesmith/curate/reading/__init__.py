"""Files of every shape to examples, and examples to files."""
