"""What every process has: settings, one start and stop contract, waits with a limit."""
