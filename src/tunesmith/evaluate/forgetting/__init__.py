"""What a tuned model has lost of what its base could do."""
