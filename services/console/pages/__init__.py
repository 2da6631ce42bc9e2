"""The web console: pages for marketers and operators, served beside the API."""
