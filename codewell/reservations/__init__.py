"""Reservations: codes set aside for one campaign or scenario, as blocks that nothing else takes from."""
