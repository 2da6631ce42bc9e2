"""The chart on a real API server, scheduler and controllers, whose nodes are fake: nothing of a pod runs."""
