"""When the certificates end that our own files hold: of the worker towards others, and of CAs.

Platforms renew such files while the worker runs, so a scrape looks whether one has changed, and
reads it again only then. The servers' own certificates are for whoever runs the servers.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs

from prometheus_client.core import GaugeMetricFamily, Metric

from worker.settings import Settings

# As DATABASE_URL has them, in libpq's words.
_OF_LIBPQ = ("sslcert", "sslrootcert")
# A certificate of our own, with what leads to its CA after it; the others are bundles of CAs.
_OF_ONE = ("AMQP_CERT_FILE", "sslcert")


def certificate_files(settings: Settings) -> dict[str, Path]:
    """Return the files with certificates that settings name, by what names each."""
    named: dict[str, Path | None] = {
        "AMQP_CA_FILE": settings.amqp_ca_file,
        "AMQP_CERT_FILE": settings.amqp_cert_file,
        "PROVIDER_CA_FILE": settings.provider_ca_file,
    }
    # Not split: its password may have brackets, which are an address to Python and none to libpq.
    query = parse_qs(settings.database_url.get_secret_value().partition("?")[2])
    named |= {name: Path(query[name][0]) for name in _OF_LIBPQ if name in query}
    return {name: path for name, path in named.items() if path is not None}


class CertificateGauge:
    """A collector of prometheus-client, of files by the setting that names each.

    A file that cannot be read has no sample.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self._known: dict[Path, tuple[int, float]] = {}

    def describe(self) -> list[Metric]:
        """Return no names: then no file is read before somebody asks."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return the ends, in seconds since the epoch."""
        gauge = GaugeMetricFamily(
            "verification_certificate_expiry_timestamp_seconds",
            "When the certificate in a file ends: of a bundle of CAs the last one, else the first.",
            labels=["file"],
        )
        for name, path in self._files.items():
            try:
                gauge.add_metric([name], self._end(name, path))
            except (OSError, ValueError):
                continue
        yield gauge

    def _end(self, name: str, path: Path) -> float:
        changed = path.stat().st_mtime_ns
        if path not in self._known or self._known[path][0] != changed:
            self._known[path] = changed, _end(path.read_bytes(), is_bundle=name not in _OF_ONE)
        return self._known[path][1]


def _end(pem: bytes, *, is_bundle: bool) -> float:
    from cryptography.x509 import load_pem_x509_certificates  # 9 MB, where there is a file alone

    ends = [each.not_valid_after_utc.timestamp() for each in load_pem_x509_certificates(pem)]
    return max(ends) if is_bundle else ends[0]
