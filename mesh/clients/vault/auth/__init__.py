"""Ways to log in to Vault, each a small file: name, options, validate, authenticate."""
