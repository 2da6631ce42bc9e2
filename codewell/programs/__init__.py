"""Programs: their settings, template versions and overview."""
