"""What one does to a model rather than with it."""
