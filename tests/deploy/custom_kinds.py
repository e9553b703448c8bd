"""JSON Schemas of the kinds that Kubernetes itself does not have: the fields that we use.

As their definitions have them (KEDA 2.20, External Secrets v1, Prometheus operator v1,
CloudNativePG v1, RabbitMQ's operators v1beta1). A field that is not in here is an error: look it
up, then add it.

A shape is written as its manifest is. `{"name!": str}` has this field, which must be there, and no
others; `{"*": str}` has names of anybody's. `[str]` is a list of at least one, `("a", "b")` one of
these words, `range(1, 9)` a whole number from 1 to 8, a pattern a text.
"""

import re
from types import UnionType
from typing import Any

Schema = dict[str, Any]

_TYPES = {str: "string", bool: "boolean", int: "integer"}


def schema(shape: Any) -> Schema:
    """Return the JSON Schema of a shape."""
    match shape:
        case dict():
            named = {name.removesuffix("!"): schema(of) for name, of in shape.items()}
            rest = named.pop("*", False)
            required = [name.removesuffix("!") for name in shape if name.endswith("!")]
            closed = {"required": required, "additionalProperties": rest}
            return {"type": "object", "properties": named, **closed}
        case tuple():
            return {"enum": [*shape]}
        case range():
            return {"type": "integer", "minimum": shape.start, "maximum": shape.stop - 1}
        case [of]:
            return {"type": "array", "items": schema(of), "minItems": 1}
        case re.Pattern():
            return {"type": "string", "pattern": shape.pattern}
        case UnionType():
            return {"type": [_TYPES[each] for each in shape.__args__]}
        case _:
            return {"type": _TYPES[shape]}


_NAMED, _PERHAPS_NAMED = {"name!": str}, {"name": str}
_TEXTS = {"*": str}
_FROM_0, _FROM_1 = range(1 << 31), range(1, 1 << 31)
_RESOURCES = {"limits": {"*": int | str}, "requests": {"*": int | str}}
_DURATION = re.compile("^([0-9]+(ms|s|m|h|d))+$")
_DURATION_OR_0 = re.compile(
    "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"
)
_SCALING = {
    "stabilizationWindowSeconds": range(3601),
    "policies!": [
        {"type!": ("Pods", "Percent"), "value!": _FROM_1, "periodSeconds!": range(1, 1801)}
    ],
}

_SPECS: dict[str, Any] = {
    "keda.sh/v1alpha1/ScaledObject": {
        "scaleTargetRef!": _NAMED,
        "pollingInterval": _FROM_1,
        "minReplicaCount": _FROM_0,
        "maxReplicaCount": _FROM_1,
        "advanced": {
            "scalingModifiers": {
                "formula!": str,
                "target!": str,
                "metricType": ("AverageValue", "Value"),
            },
            "horizontalPodAutoscalerConfig": {
                "behavior": {"scaleUp": _SCALING, "scaleDown": _SCALING}
            },
        },
        "triggers!": [
            {"type!": str, "name!": str, "metadata!": _TEXTS, "authenticationRef": _NAMED}
        ],
    },
    "keda.sh/v1alpha1/TriggerAuthentication": {
        "secretTargetRef!": [{"parameter!": str, "name!": str, "key!": str}]
    },
    "external-secrets.io/v1/ExternalSecret": {
        "refreshInterval": _DURATION,
        "secretStoreRef!": {"kind!": ("SecretStore", "ClusterSecretStore"), "name!": str},
        "target!": _NAMED,
        "data!": [
            {
                "secretKey!": re.compile("^[-._a-zA-Z0-9]+$"),
                "remoteRef!": {"key!": str, "property": str},
            }
        ],
    },
    "monitoring.coreos.com/v1/PodMonitor": {
        "jobLabel": str,
        "selector!": {"matchLabels!": _TEXTS},
        "podMetricsEndpoints!": [{"port!": str, "path": re.compile("^/"), "interval": _DURATION}],
    },
    "monitoring.coreos.com/v1/ServiceMonitor": {
        "endpoints!": [
            {
                "interval": _DURATION_OR_0,
                "params": {"*": [str]},
                "path": str,
                "port": str,
                "relabelings": [
                    {"regex": str, "replacement": str, "sourceLabels": [str], "targetLabel": str}
                ],
                "scheme": ("http", "https", "HTTP", "HTTPS"),
                "tlsConfig": {"insecureSkipVerify": bool},
            }
        ],
        "namespaceSelector": {"matchNames": [str]},
        "selector!": {"matchLabels": _TEXTS},
    },
    "monitoring.coreos.com/v1/PrometheusRule": {
        "groups!": [
            {
                "name!": str,
                "rules!": [
                    {
                        "expr!": int | str,
                        "alert!": str,
                        "labels": _TEXTS,
                        "annotations": _TEXTS,
                        "for": _DURATION,
                    }
                ],
            }
        ]
    },
    "postgresql.cnpg.io/v1/Cluster": {
        "instances!": _FROM_1,
        "bootstrap": {"initdb": {"database": str, "encoding": str, "owner": str, "secret": _NAMED}},
        "managed": {
            "roles": [
                {
                    "name!": str,
                    "login": bool,
                    "ensure": ("present", "absent"),
                    "connectionLimit": int,
                    "inRoles": [str],
                    "passwordSecret": _NAMED,
                }
            ]
        },
        "postgresql": {
            "parameters": _TEXTS,
            "synchronous": {
                "method!": ("any", "first"),
                "number!": int,
                "dataDurability": ("required", "preferred"),
            },
        },
        "resources": _RESOURCES,
        "storage": {"size": str},
        "walStorage": {"size": str},
    },
    "rabbitmq.com/v1beta1/RabbitmqCluster": {
        "replicas": _FROM_0,
        "persistence": {"storage": int | str},
        "rabbitmq": {"additionalConfig": str},
        "resources": _RESOURCES,
        "tls": {"secretName": str},
    },
    "rabbitmq.com/v1beta1/Vhost": {
        "name!": str,
        "defaultQueueType": ("quorum", "classic", "stream"),
        "rabbitmqClusterReference!": _PERHAPS_NAMED,
    },
    "rabbitmq.com/v1beta1/User": {
        "rabbitmqClusterReference!": _PERHAPS_NAMED,
        "importCredentialsSecret": _PERHAPS_NAMED,
        "tags": [("management", "policymaker", "monitoring", "administrator")],
    },
    "rabbitmq.com/v1beta1/Permission": {
        "vhost!": str,
        "permissions!": {"configure": str, "read": str, "write": str},
        "rabbitmqClusterReference!": _PERHAPS_NAMED,
        "userReference": _PERHAPS_NAMED,
    },
}
_METADATA = {"name!": str, "namespace!": str, "labels": _TEXTS, "annotations": _TEXTS}

SCHEMAS: dict[str, Schema] = {
    name: schema(
        {"apiVersion!": (version,), "kind!": (name,), "metadata!": _METADATA, "spec!": spec}
    )
    for (version, _, name), spec in ((of.rpartition("/"), spec) for of, spec in _SPECS.items())
}
"""The schema of each such kind."""
