"""The part `image`: built twice alike, and each service of the compose file run from it under Podman."""

import asyncio
import re
import secrets as random
import tempfile
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from deploy.check.commands import result
from deploy.check.image import compose, engine
from deploy.check.image.engine import inspected, podman
from deploy.check.report import DoesNotHold, Report, expect
from services.standalone.ports import free_port
from services.standalone.servers import running_servers

TIMEOUT_S: Final = 600.0
READY_TIMEOUT_S: Final = 90.0
POLL_S: Final = 0.2
SERVICES: Final = ("issuer", "generator", "console", "lifecycle")
# Which image each service of the file runs from.
IMAGES: Final = {"lifecycle": "issuer", "migrate": "commands"}
_MIB: Final = 1024**2


def tag_of(service: str) -> str:
    return f"localhost/codewell-check-{IMAGES.get(service, service)}:a"


async def prepare(report: Report) -> None:
    """Make the base once, and build the images; unchanged steps come from the cache."""
    engine.check_programs()
    if not await engine.has(engine.BASE):
        report.held(f"making a base of Debian {engine.SUITE}, which takes minutes, once")
        await engine.make_base()
    for service in ("issuer", "generator", "console", "commands"):
        await engine.build(service, tag_of(service))
    # In another order, so that no step from the choice of extras on comes from the cache.
    await engine.build("issuer", tag_of("issuer").replace(":a", ":b"), "--build-arg", "EXTRAS=tracing,issuer")


async def check(report: Report) -> None:
    """Look at the images, then run each service beside a Postgres and a Kafka of this machine."""
    await look_at_images(report)
    await look_at_options(report)
    with tempfile.TemporaryDirectory(prefix="codewell-image-") as name:
        async with running_servers(Path(name, "home")) as servers:
            run = Run(report, servers.postgres.url, servers.kafka.bootstrap, Path(name, "secrets"))
            run.write_secrets()
            await run.migrate()
            for service in SERVICES:
                await run.service(service)
            await run.without_a_home()


async def look_at_images(report: Report) -> None:
    """Two builds have the same layers; the labels, the SBOM and the size of each image."""
    first, second = [await inspected(tag_of("issuer").replace(":a", end)) for end in (":a", ":b")]
    expect(first["RootFS"]["Layers"] == second["RootFS"]["Layers"], "Two builds of the issuer have other layers.")
    report.held(f"two builds of the issuer have the same {len(first['RootFS']['Layers'])} layers")
    base = await inspected(engine.BASE)
    for service in ("issuer", "generator", "console", "commands"):
        image = await inspected(tag_of(service))
        labels = image["Labels"]
        for name in ("source", "revision", "created", "base.name", "base.digest"):
            expect(labels.get(f"org.opencontainers.image.{name}"), f"{service}: no label {name}.")
        report.figure(f"image of {service} beside its base", f"{(image['Size'] - base['Size']) / 1e6:.0f} MB")
    said = await podman("run", "--rm", *engine.ULIMITS, "--network=none", "--entrypoint=cat", tag_of("issuer"),
                        "/opt/codewell/sbom.cdx.json")  # fmt: skip
    found = set(re.findall(r"pkg:pypi/([a-z0-9-]+)@", said))
    expect({"asyncpg", "aiokafka", "uvloop"} <= found and "faust-streaming" not in found, f"The SBOM lists {found}.")
    report.held(f"the issuer's SBOM lists {len(found)} packages, and no Faust")


async def look_at_options(report: Report) -> None:
    """Podman creates a container with each service's options, and a volume that the servers' users can write."""
    for name, service in compose.services().items():
        volumes = [f"--volume=codewell-check-{each}" for each in service.get("volumes", ()) if each[0] not in "./"]
        words = ("create", "--network=none", "--no-healthcheck", *compose.options(service), *volumes)
        created = (await podman(*words, tag_of("commands"), "--version")).strip()
        await podman("rm", "--volumes", created)
        for volume in volumes:
            await podman("volume", "rm", "--force", volume.removeprefix("--volume=").partition(":")[0])
        report.held(f"Podman takes the options of {name}: {len(list(compose.options(service))) - 2}")


@dataclass(frozen=True)
class Run:
    """Containers beside servers of this machine."""

    report: Report
    postgres_url: str
    bootstrap: str
    folder: Path

    def write_secrets(self) -> None:
        """Make the files that deploy/README.md has a person make."""
        self.folder.mkdir(mode=0o700)
        for name in ("issuer", "generator", "console", "lifecycle"):
            (self.folder / f"{name}_password").write_text(random.token_hex(24))
        (self.folder / "postgres_password").write_text(urlsplit(self.postgres_url).password or "")
        (self.folder / "master_key").write_text(b64encode(random.token_bytes(32)).decode())
        for path in self.folder.iterdir():
            path.chmod(0o444)

    def changed(self, service: dict[str, Any], port: int) -> dict[str, str]:
        """The addresses of this machine in place of the file's."""
        ours = urlsplit(self.postgres_url)
        user = urlsplit(service["environment"]["CODEWELL_POSTGRES_URL"]).username
        user = ours.username if user == "codewell" else user
        return {
            "CODEWELL_POSTGRES_URL": f"postgresql://{user}@127.0.0.1:{ours.port}{ours.path}",
            "CODEWELL_KAFKA_BOOTSTRAP": self.bootstrap,
            "CODEWELL_HEALTH_PORT": str(port),
            "CODEWELL_API_PORT": str(port),
        }

    def words(self, name: str, service: dict[str, Any], port: int) -> tuple[list[str], list[str]]:
        """The options of a container and the words after its image."""
        entrypoint, words = compose.command(service)
        options = [
            *("--network=host", "--no-healthcheck", f"--name=codewell-check-{name}"),
            *compose.options(service),
            *compose.environment(service, self.changed(service, port)),
            *compose.secrets(service, self.folder),
            *entrypoint,
        ]
        return options, words

    async def migrate(self) -> None:
        """Run the file's service `migrate` to its end."""
        service = compose.services()["migrate"]
        options, words = self.words("migrate", service, free_port())
        await podman("run", "--rm", *options, tag_of("migrate"), *words, timeout_s=READY_TIMEOUT_S)
        self.report.held("migrate: schema, topics and users are made, and it ends with 0")

    async def service(self, name: str) -> None:
        """Start one service, wait until it is ready, ask its health check, and stop it."""
        service, port = compose.services()[name], free_port()
        options, words = self.words(name, service, port)
        async with self.started(name, options, words):
            began = time.monotonic()
            await self.ready(name, port)
            took = time.monotonic() - began
            await self.ask_health(name)
            memory = await self.memory(name)
            stopped = time.monotonic()
            await podman("kill", "--signal=TERM", f"codewell-check-{name}")
            status = (await podman("wait", "--interval=50ms", f"codewell-check-{name}")).strip()
            stop = time.monotonic() - stopped
            expect(status == "0", f"{name} ended with {status} after SIGTERM.")
            self.report.held(f"{name}: read-only, {service['mem_limit']} and {service['pids_limit']} processes at most")
            self.report.figure(f"{name}: start to /readyz 200", f"{took:.1f} s")
            self.report.figure(f"{name}: memory when ready", f"{memory / _MIB:.0f} MiB")
            self.report.figure(f"{name}: SIGTERM to exit 0", f"{stop:.1f} s")

    async def without_a_home(self) -> None:
        """A generator whose home belongs to root and can't be written is ready all the same."""
        service, port = dict(compose.services()["generator"]), free_port()
        service["tmpfs"] = [each for each in service["tmpfs"] if each.startswith("/tmp:")]
        options, words = self.words("homeless", service, port)
        locked = self.folder.with_name("locked")
        locked.mkdir(mode=0o700)
        options += [
            f"--volume={locked}:/locked:ro",
            "--env=CODEWELL_HOME=/locked/home",
            "--env=HOME=/locked",
            "--workdir=/",
        ]
        async with self.started("homeless", options, words, "generator"):
            await self.ready("homeless", port)
        self.report.held("a home of root's and a read-only working directory do not matter to a generator")

    @asynccontextmanager
    async def started(
        self, name: str, options: list[str], words: list[str], image: str | None = None
    ) -> AsyncIterator[None]:
        """A container that runs while the block does."""
        await podman("run", "--detach", *options, tag_of(image or name), *words)
        try:
            yield
        finally:
            await podman("rm", "--force", "--time=0", f"codewell-check-{name}")

    async def ready(self, name: str, port: int) -> None:
        """Wait for /readyz. Raises DoesNotHold with the end of its log."""
        until = time.monotonic() + READY_TIMEOUT_S
        words = ("curl", "--silent", "--fail", "--max-time", "5", f"http://127.0.0.1:{port}/readyz")
        while (await result(*words))[0] != 0:
            if time.monotonic() > until:
                _, out, said = await result(*engine.PODMAN, "logs", "--tail=5", f"codewell-check-{name}")
                raise DoesNotHold(f"{name} is not ready after {READY_TIMEOUT_S:.0f} s: {out}{said}")
            await asyncio.sleep(POLL_S)

    async def ask_health(self, name: str) -> None:
        """Run the image's own health check in the container."""
        await podman("exec", f"codewell-check-{name}", *await engine.health_check(tag_of(name)))
        self.report.held(f"{name}: healthy by the image's health check")

    async def memory(self, name: str) -> int:
        """What the processes of a container hold in memory of their own, and the pages they share (bytes)."""
        said = await podman("top", f"codewell-check-{name}", "hpid")
        total = 0
        for pid in said.split()[1:]:
            (kilobytes,) = re.findall(r"(?m)^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
            total += int(kilobytes) * 1024
        return total
