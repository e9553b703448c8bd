"""When certificates end: read from the files as they are, however often they are replaced."""

import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.chaos.certificates import Authority
from worker.settings import Settings
from worker.telemetry.certificates import CertificateGauge, certificate_files

DAY = 86_400


def days_left(gauge: CertificateGauge) -> dict[str, int]:
    (family,) = gauge.collect()
    return {
        sample.labels["file"]: round((sample.value - time.time()) / DAY)
        for sample in family.samples
    }


def test_a_renewed_certificate_is_seen_and_of_a_bundle_the_last_end_counts(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")  # of two days
    ours, longer = authority.issue("ours", days=3), authority.issue("longer", days=9)
    chain, bundle = tmp_path / "chain.pem", tmp_path / "bundle.pem"
    both = authority.certificate.read_bytes() + longer.certificate.read_bytes()
    bundle.write_bytes(both)
    chain.write_bytes(ours.certificate.read_bytes() + both)
    gauge = CertificateGauge({"AMQP_CERT_FILE": chain, "AMQP_CA_FILE": bundle})
    assert days_left(gauge) == {"AMQP_CERT_FILE": 3, "AMQP_CA_FILE": 9}
    longer.certificate.replace(chain)
    assert days_left(gauge) == {"AMQP_CERT_FILE": 9, "AMQP_CA_FILE": 9}


def test_a_file_that_is_not_there_or_no_certificate_has_no_sample(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("nothing")
    gauge = CertificateGauge({"sslcert": tmp_path / "none", "sslrootcert": rubbish})
    assert days_left(gauge) == {}


@pytest.mark.parametrize("password", ["p", "p[q", "[p]"])
def test_the_files_are_those_that_settings_and_the_databases_url_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    authority = Authority(tmp_path, "authority").certificate
    url = f"postgresql://u:{password}@h/d?sslmode=verify-full&sslrootcert={authority}&sslcert=c.pem"
    settings = Settings.model_construct(
        amqp_ca_file=authority,
        provider_ca_file=None,
        amqp_cert_file=None,
        database_url=SecretStr(url),
    )
    names = ["AMQP_CA_FILE", "sslcert", "sslrootcert"]
    assert sorted(certificate_files(settings)) == names
