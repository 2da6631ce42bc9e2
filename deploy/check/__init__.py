"""`make deploy-check`: the deployment on real servers of this machine, without a container engine of its own."""
