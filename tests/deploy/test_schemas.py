"""Every manifest is what its kind may be, to the last field."""

from copy import deepcopy

import jsonschema
import kubernetes_validate
import pytest

from tests.deploy.custom_kinds import SCHEMAS
from tests.deploy.manifests import Document, Manifests, examples

# The oldest Kubernetes that has every field we use, and the newest one that there are schemas of.
VERSIONS = ("1.31", "1.37")


def check(document: Document, version: str) -> None:
    """Raise a ValidationError for anything that the kind does not have."""
    if (schema := SCHEMAS.get(document["kind"])) is not None:
        jsonschema.validate(document, schema)
    else:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_manifest_is_valid(manifests: Manifests, version: str) -> None:
    for document in manifests.documents:
        check(document, version)


@pytest.mark.parametrize("document", examples(), ids=lambda each: each["metadata"]["name"])
def test_each_example_is_valid(document: Document) -> None:
    assert document["kind"] in {"NetworkPolicy", *SCHEMAS}
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
    assert SCHEMAS.keys() <= {each["kind"] for each in (*production.documents, *examples())}
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)
