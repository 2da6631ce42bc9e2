"""What every process has: one start and stop contract, failpoints, coalesced calls."""
