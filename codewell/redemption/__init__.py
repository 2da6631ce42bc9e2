"""Redemption: customers use codes at the till, and orders hold them until they are paid."""
