from services.standalone.workers import _worker_environment


def test_workers_of_a_stack_do_not_hear_of_another_postgres_and_kafka() -> None:
    kept = {"PATH": "/bin", "CODEWELL_MASTER_KEY": "k", "CODEWELL_REPLY_TOPICS": "a"}
    elsewhere = {
        "CODEWELL_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "CODEWELL_KAFKA_SASL_PASSWORD_FILE": "/x",
        "CODEWELL_POSTGRES_URL_FILE": "/x", "CODEWELL_POSTGRES_PASSWORD": "p",
    }  # fmt: skip
    assert _worker_environment(kept | elsewhere) == kept
