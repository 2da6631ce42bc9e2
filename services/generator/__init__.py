"""The generator: fills the programs' pools, orders codes from remote services, and stores profiles."""
