"""What a zone knows of its mesh: one immutable value, and how news changes it."""
