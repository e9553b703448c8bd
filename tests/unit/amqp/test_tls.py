"""TLS to the broker has no weaker form, however the URL is written."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from tests.chaos.certificates import Certificates
from worker.amqp.errors import InvalidUrl
from worker.amqp.parameters import parameters
from worker.amqp.tls import Tls, TlsFiles

if TYPE_CHECKING:
    from pathlib import Path

URL = "amqps://user:secret@rabbit.internal/v"


def test_it_is_tls_1_2_at_least_and_both_chain_and_host_are_checked() -> None:
    context = parameters(URL, "consume").ssl_options.context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_ca_file_replaces_the_systems_authorities(tmp_path: Path) -> None:
    certificates = Certificates.make(tmp_path)
    url = f"{URL}?cacertfile={certificates.trusted.certificate}&heartbeat=30"
    parsed = parameters(url, "consume")
    (authority,) = parsed.ssl_options.context.get_ca_certs()
    assert (("commonName", "trusted"),) in authority["subject"]
    assert parsed.heartbeat == 30


def test_files_are_read_again_and_one_that_is_being_written_does_no_harm(tmp_path: Path) -> None:
    certificates = Certificates.make(tmp_path)
    mounted = tmp_path / "mounted.pem"
    mounted.write_bytes(certificates.stranger.certificate.read_bytes())
    tls = Tls(TlsFiles(str(mounted)))
    mounted.write_text("-----BEGIN CERT")
    (before,) = tls.context.get_ca_certs()
    mounted.write_bytes(certificates.trusted.certificate.read_bytes())
    (after,) = tls.context.get_ca_certs()
    assert (("commonName", "stranger"),) in before["subject"]
    assert (("commonName", "trusted"),) in after["subject"]


@pytest.mark.parametrize(
    "url",
    [
        URL + "?ssl_options={'server_hostname':'other','ca_certs':'/ca.pem'}",
        URL + "?cacertfile=/nowhere/ca.pem",
        URL.replace("amqps", "amqp") + "?cacertfile=/ca.pem",
        URL.replace("amqps", "amqp") + "?ssl_options={'ca_certs':'/nowhere.pem'}",
    ],
)
def test_a_url_that_would_weaken_it_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(InvalidUrl) as refused:
        parameters(url, "consume")
    assert "secret" not in str(refused.value)
