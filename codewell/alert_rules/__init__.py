"""Rules of alerts: they are judged by figures of all programs, a few times in ten seconds."""
