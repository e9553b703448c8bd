"""The image, built once; and what its worker works with."""

import os
from collections.abc import Iterator

import pytest

from local_errors import MissingProgram
from local_programs import program
from tests.image.images import Image, built

ARGUMENTS = {"REVISION": "0123abc", "VERSION": "0.1.0-tried"}
"""What whoever publishes an image says about it."""


@pytest.fixture(scope="module")
def image(own_servers: None) -> Iterator[Image]:
    """Give the image. Where it cannot be built CI fails: it must not be left out unseen."""
    if (why := _hindrance()) is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no image is built here: {why}")
    with built(**ARGUMENTS) as image:
        yield image


def _hindrance() -> str | None:
    if os.geteuid() != 0:
        return "only root can run one user's files as another, in namespaces of their own"
    try:
        program("buildah")
    except MissingProgram as missing:
        return str(missing)
    return None
