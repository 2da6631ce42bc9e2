"""Process lifecycle, failpoints and call coalescing."""
