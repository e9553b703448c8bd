"""One call by JD's own SDK, run by a Python that has it: jd_client.py HOST:PORT [signed].

It signs as it does by itself; with `signed` date and nonce are handed in, and signed with the rest.
Prints the algorithm and headers that it signed, and the answer.
"""

import json
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import requests
from jdcloud_sdk.core.config import Config
from jdcloud_sdk.core.credential import Credential
from jdcloud_sdk.core.logger import FATAL, Logger
from jdcloud_sdk.services.cloudauth.apis.PersonalAuthRequest import (
    PersonalAuthParameters,
    PersonalAuthRequest,
)
from jdcloud_sdk.services.cloudauth.client.CloudauthClient import CloudauthClient
from jdcloud_sdk.services.cloudauth.models.PersonalSpec import PersonalSpec
from jdcloud_sdk.services.cloudauth.models.PersonalUser import PersonalUser


def main() -> None:
    """Ask about one person."""
    sent: list[str] = []
    really = requests.request

    def request(*arguments: Any, **options: Any) -> requests.Response:
        sent.append(options["headers"]["Authorization"])
        return really(*arguments, **options)

    requests.request = request
    header = None
    if "signed" in sys.argv:
        date = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        header = {"x-jdcloud-date": date, "x-jdcloud-nonce": str(uuid.uuid4())}
    client = CloudauthClient(
        Credential("SANDBOXACCESSKEY", "sandbox-secret-key"),
        Config(sys.argv[1], "http"),
        logger=Logger(FATAL),
    )
    spec = PersonalSpec(2, PersonalUser("张三", idCard="11010519491231002X"))
    answer = client.send(PersonalAuthRequest(PersonalAuthParameters(spec), header))
    algorithm, _, rest = sent[0].partition(" ")
    signed = rest.partition("SignedHeaders=")[2].partition(",")[0]
    error = None if answer.error is None else answer.error.status
    print(json.dumps([algorithm, signed, error, answer.result]))


if __name__ == "__main__":
    main()
