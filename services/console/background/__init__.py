"""What a console does beside answering requests."""
