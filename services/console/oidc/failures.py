"""Why a sign-in by a provider failed. The sentences are for the person, and hold no secret."""


class SignInRefused(Exception):
    """The provider did not say who the person is, or nothing that is to be trusted."""


class ProviderAway(Exception):
    """The provider does not answer as it should. The sentence says how; operators find it in the log too."""
