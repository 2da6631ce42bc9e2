"""Files that people bring: what kind they are, how they are written, their rows. No SQL."""
