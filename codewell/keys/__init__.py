"""Master keys, which wrap the secret keys of programs, and their rotation."""
