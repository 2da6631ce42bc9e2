"""Sign-in with an OpenID provider: the code flow with PKCE, and what a person's groups allow."""
