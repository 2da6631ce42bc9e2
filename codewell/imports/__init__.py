"""Files of codes: rows become candidates, chunks become codes, and an import can be undone."""
