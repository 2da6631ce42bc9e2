"""What brings a system back: dead letters, and answers that a fail-over lost."""
