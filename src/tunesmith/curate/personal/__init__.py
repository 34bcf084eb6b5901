"""Personal data and secrets: what stands where in a text. The values themselves never leave this package."""
