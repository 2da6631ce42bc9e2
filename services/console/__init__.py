"""The console: the HTTP API that people and programs drive Codewell with."""
