"""The audit log, and the rules that check the promises (invariants) on a live database."""
