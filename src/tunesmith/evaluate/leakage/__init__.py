"""What a tuned model gives away of the rows that it was trained on."""
