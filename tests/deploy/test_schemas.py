"""Every manifest is what its kind may be, to the last field."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import pytest

from tests.deploy.manifests import examples

if TYPE_CHECKING:
    from tests.deploy.manifests import Document, Manifests

# The oldest Kubernetes that has every field we use, and the newest one that there are schemas of.
VERSIONS = ("1.31", "1.37")

OWN = Path(__file__).with_name("schemas")
"""Of kinds that Kubernetes itself does not have: the fields that we use, as their definitions have
them (KEDA 2.20, External Secrets v1, Prometheus operator v1, CloudNativePG v1, RabbitMQ's operators
v1beta1). A field that is not in there is an error: look it up, then add it."""


def own_schema(document: Document) -> dict[str, Any] | None:
    """Return our schema for a kind, or None where Kubernetes has one."""
    path = OWN / f"{document['kind'].lower()}.json"
    if not path.exists():
        return None
    schema: dict[str, Any] = json.loads(path.read_text())
    return schema


def check(document: Document, version: str) -> None:
    """Raise a ValidationError for anything that the kind does not have."""
    if (schema := own_schema(document)) is not None:
        jsonschema.validate(document, schema)
    else:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_manifest_is_valid(manifests: Manifests, version: str) -> None:
    for document in manifests.documents:
        check(document, version)


@pytest.mark.parametrize("document", examples(), ids=lambda each: each["metadata"]["name"])
def test_each_example_is_valid(document: Document) -> None:
    assert document["kind"] == "NetworkPolicy" or own_schema(document) is not None
    check(document, VERSIONS[-1])


def test_a_field_that_a_kind_does_not_have_is_noticed(manifests: Manifests) -> None:
    for document in manifests.documents:
        if "spec" not in document:
            continue
        wrong = deepcopy(document)
        wrong["spec"]["noSuchField"] = 1
        with pytest.raises(jsonschema.ValidationError):
            check(wrong, VERSIONS[-1])


def test_our_schemas_are_schemas_and_each_is_used(production: Manifests) -> None:
    kinds = {document["kind"].lower() for document in (*production.documents, *examples())}
    for path in OWN.glob("*.json"):
        jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text()))
        assert path.stem in kinds
