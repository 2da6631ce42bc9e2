"""Rules of alerts, judged every one to three seconds by figures of all programs."""
