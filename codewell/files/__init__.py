"""Files that people bring and take: what kind they are, how they are written, their rows. No SQL."""
