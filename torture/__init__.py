"""Proof under faults: a load that goes on, faults by a seeded schedule, and a checker that believes nobody."""
