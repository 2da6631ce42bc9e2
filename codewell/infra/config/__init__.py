"""Settings from `CODEWELL_*` variables, secret files and a stack on this machine."""
