"""Whether a tuned model treats people differently by who they are."""
