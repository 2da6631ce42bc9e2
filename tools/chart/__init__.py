"""Makes and checks the Helm chart of `deploy/chart`."""
