"""What lets several workers run the tests: who gets which, and who waits for whom."""
