"""Old answers leave the database: which ones may, their files, and the moment before which requests are too old."""
