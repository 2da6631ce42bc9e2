"""Master keys, which wrap the programs' secret keys, and their rotation."""
