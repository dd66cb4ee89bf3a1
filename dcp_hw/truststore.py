"""The system's certificate authorities in a form that a bundled Java can read.

A Java from a wheel trusts only the authorities it was built with. Behind a proxy that signs
with its own, pip and git work because they read the system's bundle; Java would fail with
"unable to find valid certification path". The file is written here because no JRE reads
PEM, and `keytool` needs a second per certificate.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import struct
from pathlib import Path

_PASSWORD = "changeit"  # the customary one; guards against damage, the content is public
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS
)


def system_bundle() -> Path | None:
    """PEM file with the authorities this system trusts; `SSL_CERT_FILE` goes first."""
    candidates = (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile)
    for candidate in (*candidates, *_SYSTEM_BUNDLES):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    return None


def java_trust_options(folder: Path) -> list[str]:
    """Options that make a bundled Java trust what the system trusts; none if unknown.

    Args:
        folder: where the trust store is kept, named by its content's hash.
    """
    bundle = system_bundle()
    if bundle is None:
        return []
    certificates = [
        ssl.PEM_cert_to_DER_cert(text)
        for text in _PEM.findall(bundle.read_text(encoding="utf-8", errors="replace"))
    ]
    if not certificates:
        return []
    content = jks(certificates)
    store = folder / f"trust-{hashlib.sha256(content).hexdigest()[:16]}.jks"
    if not store.exists():
        aside = store.with_name(f"{store.name}.{os.getpid()}.part")
        aside.write_bytes(content)
        aside.replace(store)
    return [
        f"-Djavax.net.ssl.trustStore={store}",
        "-Djavax.net.ssl.trustStoreType=JKS",
        f"-Djavax.net.ssl.trustStorePassword={_PASSWORD}",
    ]


def jks(certificates: list[bytes]) -> bytes:
    """A Java key store, format version 2, that trusts these certificates.

    Args:
        certificates: X.509, DER-encoded.
    Source: layout in `sun.security.provider.JavaKeyStore.engineStore` of OpenJDK: big-endian,
        then SHA-1 over password, a fixed phrase and the content.
    """
    parts = [struct.pack(">III", 0xFEEDFEED, 2, len(certificates))]
    for number, certificate in enumerate(certificates):
        parts += [
            struct.pack(">I", 2),  # a trusted certificate
            _utf(f"ca-{number}"),
            struct.pack(">Q", 0),  # creation date: fixed, so that equal bundles are equal files
            _utf("X.509"),
            struct.pack(">I", len(certificate)),
            certificate,
        ]
    content = b"".join(parts)
    salted = _PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + content
    return content + hashlib.sha1(salted).digest()


def _utf(text: str) -> bytes:
    """A short ASCII string as `DataOutputStream.writeUTF` writes it."""
    return struct.pack(">H", len(text)) + text.encode("ascii")
