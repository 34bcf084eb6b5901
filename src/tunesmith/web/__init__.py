"""Door: one HTTP app with OpenAI-compatible routes."""
