"""Background tasks of the console."""
