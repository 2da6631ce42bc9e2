"""Id tokens that are not to be trusted: each differs from a good one in one thing."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from services.console.oidc.attempt import Attempt
from services.console.oidc.failures import ProviderAway, SignInRefused
from services.console.oidc.provider import Provider
from services.console.oidc.settings import Grant, OidcSettings

CLIENT_ID: Final = "codewell"
CLIENT_SECRET: Final = "a-secret-of-both-that-is-long-enough-for-HS256"
RETURN_URL: Final = "http://console.example/sign-in/oidc/return"
KEY: Final = RSAKey.generate_key(2048, {"kid": "one"})
OTHER: Final = RSAKey.generate_key(2048, {"kid": "one"})


class HostileProvider:
    """A provider that answers with any token. Its documents may be changed."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.attempt = Attempt.begin()
        self.documents: dict[str, Any] = {
            "/.well-known/openid-configuration": {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/auth",
                "token_endpoint": f"{issuer}/token",
                "jwks_uri": f"{issuer}/jwks",
                "userinfo_endpoint": f"{issuer}/me",
            },
            "/jwks": KeySet([KEY]).as_dict(private=False),
        }

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        good = {
            "iss": self.issuer, "aud": CLIENT_ID, "sub": "1", "iat": now, "exp": now + 60,
            "nonce": self.attempt.nonce, "email": "a@example.com", "groups": ["shop"],
        }  # fmt: skip
        return {name: value for name, value in {**good, **changed}.items() if value is not None}

    def signed(self, claims: dict[str, Any], key: Any = KEY, alg: str = "RS256", kid: str = "one") -> str:
        return jwt.encode({"alg": alg, "kid": kid}, claims, key, [alg])

    def provider(self) -> Provider:
        settings = OidcSettings(
            postgres_url="postgresql://127.0.0.1:1", kafka_bootstrap="127.0.0.1:1", oidc_issuer=self.issuer,
            oidc_client_id=CLIENT_ID, oidc_client_secret=CLIENT_SECRET,
            oidc_groups={"shop": Grant(scopes=("admin",))},
        )  # fmt: skip
        return Provider(self.issuer, settings, RETURN_URL)

    async def name_by(self, id_token: str, provider: Provider | None = None) -> str:
        self.documents["/token"] = {"id_token": id_token, "access_token": "x"}
        answer = {"state": self.attempt.state, "code": "c"}
        return (await (provider or self.provider()).person(self.attempt, answer)).name


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = served.documents.get(self.path)
            self.send_response(200 if found is not None else 404)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        do_POST = do_GET  # noqa: N815  the base class calls it so

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = HostileProvider(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_good_token_is_believed(hostile: HostileProvider) -> None:
    assert await hostile.name_by(hostile.signed(hostile.claims())) == "a@example.com"
    for aud in ([CLIENT_ID], CLIENT_ID):
        assert await hostile.name_by(hostile.signed(hostile.claims(aud=aud, azp=CLIENT_ID)))
    both = hostile.claims(aud=[CLIENT_ID, "other"], azp=CLIENT_ID)
    assert await hostile.name_by(hostile.signed(both))


NOW: Final = int(time.time())


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://other.example"}, {"iss": None}, {"aud": "other"}, {"aud": None}, {"aud": []},
        {"nonce": "other"}, {"nonce": None}, {"sub": None}, {"sub": 7}, {"exp": NOW - 3600}, {"exp": None},
        {"iat": NOW + 3600}, {"iat": None}, {"nbf": NOW + 3600}, {"azp": "other"},
        {"aud": [CLIENT_ID, "other"]}, {"aud": [CLIENT_ID, "other"], "azp": "other"},
    ],
)  # fmt: skip
async def test_claims_that_are_not_as_they_should_be(hostile: HostileProvider, changed: dict[str, Any]) -> None:
    with pytest.raises(SignInRefused, match="not to be trusted"):
        await hostile.name_by(hostile.signed(hostile.claims(**changed)))


FORGED: Final[dict[str, Callable[[HostileProvider], str]]] = {
    "another key under the same name": lambda one: one.signed(one.claims(), OTHER),
    "a key that nobody knows": lambda one: one.signed(one.claims(), OTHER, kid="two"),
    "the secret of both": lambda one: one.signed(one.claims(), OctKey.import_key(CLIENT_SECRET), "HS256"),
    "no signature": lambda one: (
        "eyJhbGciOiJub25lIn0." + one.signed(one.claims()).split(".")[1] + "."
    ),
    "a signature that was cut off": lambda one: one.signed(one.claims()).rpartition(".")[0] + ".",
    "claims of another token": lambda one: ".".join(
        part.split(".")[place]
        for place, part in enumerate([one.signed(one.claims()), one.signed(one.claims(sub="2")), one.signed({})])
    ),
    "a curve of its own": lambda one: one.signed(one.claims(), ECKey.generate_key("P-256"), "ES256"),
    "no token": lambda _: "x",
    "nothing": lambda _: "",
}  # fmt: skip


@pytest.mark.parametrize("how", FORGED)
async def test_a_forged_token_is_refused(hostile: HostileProvider, how: str) -> None:
    with pytest.raises(SignInRefused, match="not to be trusted"):
        await hostile.name_by(FORGED[how](hostile))


async def test_a_new_key_of_the_provider_is_found(hostile: HostileProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.console.oidc.provider._KEYS_AGE_MIN_S", 0.0)
    provider = hostile.provider()
    await hostile.name_by(hostile.signed(hostile.claims()), provider)
    new = RSAKey.generate_key(2048, {"kid": "two"})
    hostile.documents["/jwks"] = KeySet([KEY, new]).as_dict(private=False)
    assert await hostile.name_by(hostile.signed(hostile.claims(), new, kid="two"), provider) == "a@example.com"


async def test_what_a_user_info_says_of_another_person_is_not_believed(hostile: HostileProvider) -> None:
    token = hostile.signed(hostile.claims(groups=None))
    hostile.documents["/me"] = {"sub": "2", "groups": ["shop"]}
    with pytest.raises(SignInRefused, match="userinfo"):
        await hostile.name_by(token)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/.well-known/openid-configuration", []),
        ("/.well-known/openid-configuration", {"issuer": "x"}),
        ("/jwks", {"keys": [{"kty": "RSA"}]}),
        ("/jwks", {}),
        ("/jwks", None),
    ],
    ids=str,
)
async def test_documents_that_can_not_be_read(hostile: HostileProvider, path: str, document: Any) -> None:
    hostile.documents[path] = document
    with pytest.raises(ProviderAway):
        await hostile.name_by(hostile.signed(hostile.claims()))


async def test_an_address_without_tls_on_another_host_is_not_asked(hostile: HostileProvider) -> None:
    found = hostile.documents["/.well-known/openid-configuration"]
    found["token_endpoint"] = "http://id.example.com/token"
    with pytest.raises(ProviderAway, match="https"):
        await hostile.name_by(hostile.signed(hostile.claims()))
