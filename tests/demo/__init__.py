"""The demo's estate, which other tests use too."""
