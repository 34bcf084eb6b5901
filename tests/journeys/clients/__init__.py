"""Programs that other environments run against our server: the unmodified clients of others."""
