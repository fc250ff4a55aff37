"""Other zones: the document that each publishes, and what is known of it elsewhere."""
