"""An Apache Kafka that lets nobody in without TLS, password and rights.

Keystore, users and rights are made here.
"""

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from tests.integration.brokers import ApacheKafka
from worker.kafka import embedded
from worker.kafka.acls import CODES, Acl

PASSWORD = "correct-horse-battery-staple"
KEYSTORE_PASSWORD = "changeit"
TOPIC, GROUP, TRANSACTIONAL_ID = 2, 3, 5
LITERAL, PREFIXED = 3, 4
ALLOW = 3
RESOURCES = {"topic": TOPIC, "group": GROUP, "transactional-id": TRANSACTIONAL_ID}


@dataclass(frozen=True)
class Secured:
    """A broker with two listeners.

    SASL over TLS, certified for 127.0.0.1 only, and a plain one for administrators.
    """

    tls: str
    plain: str
    ca: Path

    def as_user(self, name: str, **changes: str) -> dict[str, str]:
        """A worker's variables."""
        chosen = {
            "bootstrap_servers": self.tls, "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_username": name, "sasl_password": PASSWORD, "ssl_cafile": str(self.ca), **changes,
        }  # fmt: skip
        return {f"PPRM_KAFKA__{key.upper()}": value for key, value in chosen.items() if value}

    def acls(self, *arguments: str) -> None:
        """`kafka-acls.sh`."""
        _java("org.apache.kafka.tools.AclCommand", "--bootstrap-server", self.plain, *arguments)

    def give_scram_password(self, user: str) -> None:
        _java(
            "kafka.admin.ConfigCommand", "--bootstrap-server", self.plain, "--alter",
            "--entity-type", "users",
            "--entity-name", user, "--add-config", f"SCRAM-SHA-512=[password={PASSWORD}]",
        )  # fmt: skip

    async def allow(self, user: str, rights: Iterable[Acl]) -> None:
        """The same as `acls`, without a Java process for each."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.plain)
        await admin.start()
        try:
            for right in rights:
                pattern = PREFIXED if right.prefixed else LITERAL
                for name in right.names:
                    for operation in right.operations:
                        answer = await admin._send_to_controller(
                            CreateAclsRequest(
                                RESOURCES[right.kind],
                                name,
                                pattern,
                                f"User:{user}",
                                "*",
                                CODES[operation],
                                ALLOW,
                            )
                        )
                        assert answer.creation_responses[0][0] == 0, answer
        finally:
            await admin.close()


@contextmanager
def secured_kafka(directory: Path, users: Iterable[str]) -> Iterator[Secured]:
    port = embedded.free_port(3)
    keystore, ca = _certificate(directory)
    tls, plain = f"127.0.0.1:{port}", f"127.0.0.1:{port + 2}"
    kafka = ApacheKafka(directory, port, _properties(port, keystore, users))
    try:
        kafka.start()
        yield Secured(tls, plain, ca)
    finally:
        kafka.stop()


def _certificate(directory: Path) -> tuple[Path, Path]:
    """A keystore for 127.0.0.1, self-signed, and its certificate as the CA to trust."""
    keystore, ca = directory / "broker.p12", directory / "ca.pem"
    store = ["-alias", "broker", "-keystore", str(keystore), "-storepass", KEYSTORE_PASSWORD]
    _quietly(
        "keytool", "-genkeypair", *store, "-storetype", "PKCS12", "-keyalg", "EC", "-groupname",
        "secp256r1",
        "-validity", "2", "-dname", "CN=broker", "-ext", "san=ip:127.0.0.1",
    )  # fmt: skip
    _quietly("keytool", "-exportcert", "-rfc", *store, "-file", str(ca))
    return keystore, ca


def _properties(port: int, keystore: Path, users: Iterable[str]) -> list[str]:
    passwords = " ".join(f'user_{user}="{PASSWORD}"' for user in ("admin", *users))
    plain_login = "org.apache.kafka.common.security.plain.PlainLoginModule"
    scram_login = "org.apache.kafka.common.security.scram.ScramLoginModule"
    return [
        f"listeners=SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1},"
        f"PLAINTEXT://127.0.0.1:{port + 2}",
        f"advertised.listeners=SASL_SSL://127.0.0.1:{port},PLAINTEXT://127.0.0.1:{port + 2}",
        "inter.broker.listener.name=SASL_SSL",
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol=PLAIN",
        f'listener.name.sasl_ssl.plain.sasl.jaas.config={plain_login} required username="admin" '
        f'password="{PASSWORD}" {passwords};',
        f"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={scram_login} required;",
        *(
            f"ssl.{store}.{key}={value}"
            for store in ("keystore", "truststore")
            for key, value in (
                ("location", keystore),
                ("password", KEYSTORE_PASSWORD),
                ("type", "PKCS12"),
            )
        ),
        "auto.create.topics.enable=true",
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # the controller's and the test's own listener have no passwords
        "super.users=User:admin;User:ANONYMOUS",
        "allow.everyone.if.no.acl.found=false",
    ]


def _java(tool: str, *arguments: str) -> None:
    libraries = Path(os.environ["PPRM_TEST_KAFKA"]) / "libs" / "*"
    _quietly("java", "-XX:TieredStopAtLevel=1", "-cp", str(libraries), tool, *arguments)


def _quietly(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command[0]} {done.stdout} {done.stderr}"
