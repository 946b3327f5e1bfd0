"""Why a broker refuses us: wrong password, certificate or protocol.

A broker that is down does not count.

aiokafka only reports that no broker could be reached, for all of these alike. So each is tried once
more by itself; where TLS or SASL do not fit the listener, that is proven by asking it the other way
round, without credentials.
"""

import ssl
from collections.abc import Mapping
from typing import Any

from aiokafka.client import collect_hosts, create_conn
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

TIMEOUT_MS = 5000


async def why(client: Mapping[str, Any]) -> str | None:
    """Say why the brokers refuse us and which setting to change.

    None where one takes us, or where they are just down.

    Args:
        client: keyword arguments of an aiokafka client, `settings.client_settings`.
    """
    reasons = []
    for host, port, _ in collect_hosts(client["bootstrap_servers"]):
        reason = await _ask(host, port, client)
        if reason is None:
            return None
        reasons.append(reason and f"the broker {host}:{port} refuses us: {reason}")
    return next(filter(None, reasons), None)


async def _ask(host: str, port: int, client: Mapping[str, Any]) -> str | None:
    """Ask one broker for a connection.

    Returns None where it takes us, an empty text where it is down, else why it refuses us.
    """
    try:
        connection = await _connect(host, port, **client)
        try:
            await connection.send(MetadataRequest([]))
        finally:
            connection.close()
    except (OSError, KafkaError, TimeoutError) as error:
        return _said(error, client) or await _misfit(host, port, client)
    return None


async def _connect(host: str, port: int, **client: Any) -> AIOKafkaConnection:
    client.pop("bootstrap_servers", None)
    return await create_conn(host, port, request_timeout_ms=TIMEOUT_MS, **client)


def _said(error: Exception, client: Mapping[str, Any]) -> str:
    """Return the reason, where the error itself is one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted: {error.verify_message}."
            " Check kafka.ssl_cafile, and that the certificate is for the name in"
            " kafka.bootstrap_servers"
        )
    if isinstance(error, SaslAuthenticationFailed):
        return f"{error}. Check kafka.sasl_username, kafka.sasl_password and kafka.sasl_mechanism"
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"it does not offer {client['sasl_mechanism']}: change kafka.sasl_mechanism"
    if isinstance(error, IllegalSaslStateError):
        return f"it takes no password, but kafka.security_protocol is {client['security_protocol']}"
    return ""


async def _misfit(host: str, port: int, client: Mapping[str, Any]) -> str:
    """The reason where the listener speaks another protocol than is set."""
    protocol = client["security_protocol"]
    with_tls = protocol.endswith("SSL")
    if await _answers(host, port, with_tls=not with_tls):
        speaks = "no TLS" if with_tls else "TLS"
        return f"it speaks {speaks} on this port, but kafka.security_protocol is {protocol}"
    if not protocol.startswith("SASL") and await _asks_for_password(host, port, client):
        return f"it wants a password, but kafka.security_protocol is {protocol}"
    return ""


async def _answers(host: str, port: int, *, with_tls: bool) -> bool:
    other: dict[str, Any] = {"security_protocol": "PLAINTEXT"}
    if with_tls:
        other = {"security_protocol": "SSL", "ssl_context": ssl.create_default_context()}
    try:
        (await _connect(host, port, **other)).close()
    except ssl.SSLCertVerificationError:
        return True
    except (OSError, KafkaError, TimeoutError):
        return False
    return True


async def _asks_for_password(host: str, port: int, client: Mapping[str, Any]) -> bool:
    try:
        connection = await _connect(host, port, **client)
        try:
            answer = await connection.send(SaslHandShakeRequest("PLAIN"))
        finally:
            connection.close()
    except (OSError, KafkaError, TimeoutError):
        return False
    return answer.error_code in (0, UnsupportedSaslMechanismError.errno)
