"""Certificates for tests: authorities, and what they sign. Made by the openssl command, 0.1 s each.

The tests trust none but these, and these are trusted by nothing but the tests.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path

    def become(self, other: Pair) -> None:
        """Have the content of another pair from now on, as a renewed mounted secret has."""
        for own, new in ((self.certificate, other.certificate), (self.key, other.key)):
            fresh = own.with_suffix(".new")
            fresh.write_bytes(new.read_bytes())
            fresh.replace(own)


class Authority:
    """A CA of its own, its files in `directory` under `name`."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self.pair = Pair(directory / f"{name}.pem", directory / f"{name}.key")
        self._openssl(
            *f"req -x509 -days 2 -subj /CN={name} {_NEW_KEY} {self.pair.key}".split(),
            "-out",
            str(self.pair.certificate),
            *"-addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign".split(),
        )

    @property
    def certificate(self) -> Path:
        """What others must trust."""
        return self.pair.certificate

    def issue(self, name: str, host: str = "localhost", days: int = 1) -> Pair:
        """Sign a certificate for one host name; with no days left it has expired already."""
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        request, extensions = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{host}\n")
        self._openssl(*f"req -new -subj /CN={name} {_NEW_KEY} {pair.key} -out {request}".split())
        self._openssl(
            *f"x509 -req -days {days} -in {request} -extfile {extensions}".split(),
            *f"-CA {self.pair.certificate} -CAkey {self.pair.key} -CAcreateserial".split(),
            "-out",
            str(pair.certificate),
        )
        return pair

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr


# An elliptic curve's key is made at once; an RSA key takes a second.
_NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout"


@dataclass(frozen=True, slots=True)
class Certificates:
    """Who signs for whom. The servers' certificate is for `localhost`, not for 127.0.0.1."""

    directory: Path
    trusted: Authority
    stranger: Authority
    server: Pair

    @classmethod
    def make(cls, directory: Path) -> Certificates:
        """Make them all in this directory."""
        trusted = Authority(directory, "trusted")
        return cls(directory, trusted, Authority(directory, "stranger"), trusted.issue("server"))

    def locked_key(self, password: str) -> Path:
        """Return the server's key in a file that needs a password."""
        locked = self.directory / "locked.key"
        command = f"openssl pkey -aes256 -in {self.server.key} -out {locked} -passout"
        subprocess.run([*command.split(), f"pass:{password}"], check=True, timeout=60)
        return locked
