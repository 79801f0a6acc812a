"""TCP with TLS: the caller is the common name of its certificate, and needs one."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ofctl.api.server import ApiServer
from ofctl.client import AsyncClient, PortSpec, Tls, Unavailable, VmConsumer
from tests.functional.api.conftest import settings
from tests.functional.api.memory import MemoryEngine

DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates into a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._write(f"{name}.crt", self._certificate(self._name, self._key.public_key(), authority=True))

    def issue(self, name: str) -> None:
        """Write NAME.crt and NAME.key, good for localhost."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._write(f"{name}.crt", self._certificate(subject, key.public_key(), authority=False))
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self._directory / f"{name}.key").write_bytes(private)

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name: str, certificate: x509.Certificate) -> None:
        (self._directory / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@pytest.fixture
def files(rundir: Path) -> Path:
    """Certificates of the agent, of `nova` and of `operator`, signed by `ca`; and of `mallory`, signed by another."""
    authority = Authority(rundir, "ca")
    authority.issue("agent")
    authority.issue("nova")
    authority.issue("operator")
    Authority(rundir, "other").issue("mallory")
    return rundir


def tls(files: Path, name: str) -> Tls:
    return Tls(ca=files / "ca.crt", cert=files / f"{name}.crt", key=files / f"{name}.key")


async def test_the_principal_is_the_common_name(engine: MemoryEngine, files: Path) -> None:
    admins = frozenset({"operator"})
    server = ApiServer(engine, settings(files / "api.sock", listen="localhost:0", tls=files, admin_names=admins))
    await server.start()
    target = f"localhost:{server.tcp_port}"
    web = PortSpec(port_id="web", network_id="blue", vm=VmConsumer())
    try:
        await engine.apply_network_for_tests("blue")
        async with AsyncClient(target, tls=tls(files, "nova"), timeout_s=10) as client:
            assert (await client.plug(web)).principal == "tls:nova"
        async with AsyncClient(target, tls=tls(files, "operator"), timeout_s=10) as client:
            assert (await client.plug(web)).principal == "tls:operator"
        assert [plug.admin for plug in engine.plugs] == [False, True]
        async with AsyncClient(target, tls=tls(files, "mallory"), timeout_s=10) as client:
            with pytest.raises(Unavailable):
                await client.plug(web)
        async with AsyncClient(target, timeout_s=10) as client:
            with pytest.raises(Unavailable):
                await client.plug(web)
        assert len(engine.plugs) == 2
    finally:
        await server.stop(0)
