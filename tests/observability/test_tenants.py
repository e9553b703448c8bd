"""One Prometheus watches two deployments: what is well in one silences nothing in the other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.observability.queries import cases, panels, rules
from tests.observability.test_rules import NAMES, assert_true

ILL, WELL = "production", "staging"

AGGREGATIONS = ("sum", "min", "max", "avg", "count", "group", "quantile", "topk", "bottomk")
_AGGREGATION = re.compile(rf"\b({'|'.join(AGGREGATIONS)})\b(?! by \(namespace[,)])")
_UNMATCHED = re.compile(r"\b(and|unless)\b(?! on \(namespace[,)])")
_MATCHED = re.compile(r"\b(?:on|ignoring) \((?!namespace[,)]).*")
# It adds an alert where no namespace is known at all, and takes none away.
_NOTHING_KNOWN = "or on ()\n  absent("
# A metric's name with its labels: no word of PromQL's own has a bracket or a colon after it.
_SELECTOR = re.compile(r"\b((?:verification|process|rabbitmq)_\w+|up)\b(\{[^}]*\})?")


def first(name: str, *, fires: bool) -> dict[str, Any]:
    """Return the first case that shows an alert firing, or silent."""
    return next(
        test
        for test in cases()
        for case in test["alert_rule_test"]
        if case["alertname"] == name and bool(case["exp_alerts"]) == fires
    )


def of(namespace: str, test: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a case's series as those of a namespace."""
    for each in test["input_series"]:
        metric, _, labels = each["series"].rstrip("}").partition("{")
        named = ",".join(filter(None, [f'namespace="{namespace}"', labels]))
        yield {**each, "series": f"{metric}{{{named}}}"}


def test_each_alert_fires_for_the_deployment_that_is_ill_beside_one_that_is_well(
    tmp_path: Path,
) -> None:
    tests: dict[str, list[dict[str, Any]]] = {}
    for name in NAMES:
        ill, well = first(name, fires=True), first(name, fires=False)
        (case,) = ill["alert_rule_test"]
        (alert,) = case["exp_alerts"]
        labels = {**alert["exp_labels"], "namespace": ILL}
        fired = {**case, "exp_alerts": [{**alert, "exp_labels": labels}]}
        series = [*of(ILL, ill), *of(WELL, well)]
        tests[name] = [{**ill, "input_series": series, "alert_rule_test": [fired]}]
    assert_true(tests, tmp_path)


@pytest.mark.parametrize("rule", rules(), ids=NAMES)
def test_no_alert_adds_up_or_matches_across_namespaces(rule: dict[str, Any]) -> None:
    expression = rule["expr"].replace(_NOTHING_KNOWN, "or (")
    for across in (_AGGREGATION, _UNMATCHED, _MATCHED):
        assert across.findall(expression) == []


@pytest.mark.parametrize(
    "expression", ["sum(a)", "sum by (reason) (a)", "a and b", "a unless on () b", "a / on (pod) b"]
)
def test_what_crosses_namespaces_is_noticed(expression: str) -> None:
    with pytest.raises(AssertionError):
        test_no_alert_adds_up_or_matches_across_namespaces({"expr": expression})


def test_every_query_of_the_dashboard_asks_for_the_chosen_namespaces() -> None:
    for panel in panels():
        for target in panel["targets"]:
            for metric, labels in _SELECTOR.findall(target["expr"]):
                assert 'namespace=~"$namespace"' in labels, (panel["title"], metric)
