"""Tests of `codewell_client` without servers."""
