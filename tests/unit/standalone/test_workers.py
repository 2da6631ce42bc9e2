import pytest

from services.standalone.workers import WorkerProcess, _worker_environment, settings_of


def test_workers_of_a_stack_do_not_hear_of_another_postgres_and_kafka() -> None:
    kept = {"PATH": "/bin", "CODEWELL_MASTER_KEY": "k", "CODEWELL_REPLY_TOPICS": "a"}
    elsewhere = {
        "CODEWELL_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "CODEWELL_KAFKA_SASL_PASSWORD_FILE": "/x",
        "CODEWELL_POSTGRES_URL_FILE": "/x", "CODEWELL_POSTGRES_PASSWORD": "p",
    }  # fmt: skip
    assert _worker_environment(kept | elsewhere) == kept


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (None, "http://127.0.0.1:8080"), ("127.0.0.2", "http://127.0.0.2:8080"), ("::1", "http://[::1]:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"), ("::", "http://127.0.0.1:8080"),
    ],
)  # fmt: skip
def test_workers_are_asked_where_they_listen(monkeypatch: pytest.MonkeyPatch, host: str | None, url: str) -> None:
    monkeypatch.setenv("CODEWELL_HEALTH_HOST", "127.0.0.3")
    monkeypatch.delenv("CODEWELL_API_HOST", raising=False)
    if host is not None:
        monkeypatch.setenv("CODEWELL_API_HOST", host)
    workers = [WorkerProcess("issuer-1", "issuer"), WorkerProcess("console", "console")]
    found = settings_of(workers, {"issuer": "postgresql://", "console": "postgresql://"}, "127.0.0.1:1", 8080)
    assert found["console"].health_url == url
    assert found["issuer-1"].health_url.startswith("http://127.0.0.1:")
    assert found["issuer-1"].variables["CODEWELL_HEALTH_HOST"] == "127.0.0.1"
