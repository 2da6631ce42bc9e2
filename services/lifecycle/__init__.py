"""The worker that publishes what happens to codes."""
