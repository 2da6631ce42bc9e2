"""Files that people take in and out: their cells and lines, without any database."""
