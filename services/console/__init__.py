"""The console: the HTTP API of Codewell."""
