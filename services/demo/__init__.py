"""The main job on real parts, to look at."""
