"""Door: the command line. Parses, prints, exits."""
