"""JSON Schemas of the kinds that Kubernetes itself does not have: the fields that we use.

As their definitions have them (KEDA 2.20, External Secrets v1, Prometheus operator v1,
CloudNativePG v1, RabbitMQ's operators v1beta1). A field that is not in here is an error: look it
up, then add it.
"""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "integer"}
QUANTITY: Schema = {"type": ["integer", "string"]}


def fields(required: str = "", /, **known: Schema) -> Schema:
    """Describe an object of these fields and no others; `required` are names between spaces."""
    names = required.split()
    return {"type": "object", "additionalProperties": False, "required": names, "properties": known}


def entries(of: Schema) -> Schema:
    """Describe an object whose names are anybody's, with such values."""
    return {"type": "object", "additionalProperties": of}


def some(of: Schema, at_least: int = 0) -> Schema:
    """Describe a list of such items."""
    return {"type": "array", "items": of, "minItems": at_least}


def one_of(*values: str) -> Schema:
    """Describe one of these words."""
    return {"type": "string", "enum": list(values)}


def like(pattern: str) -> Schema:
    """Describe a text with this pattern."""
    return {"type": "string", "pattern": pattern}


def number(minimum: int, **maximum: int) -> Schema:
    """Describe a whole number within these bounds."""
    return {"type": "integer", "minimum": minimum, **maximum}


TEXTS = entries(TEXT)
NAMED, PERHAPS_NAMED = fields("name", name=TEXT), fields(name=TEXT)
SIZED = fields(size=TEXT)
RESOURCES = fields(limits=entries(QUANTITY), requests=entries(QUANTITY))
DURATION = like("^([0-9]+(ms|s|m|h|d))+$")
DURATION_OR_0 = like(
    "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"
)


def kind(of: str, required: str = "", /, **spec: Schema) -> tuple[str, Schema]:
    """Return the name and the schema of a kind, `apiVersion/kind`, by the fields of its `spec`."""
    version, _, name = of.rpartition("/")
    return name, fields(
        "apiVersion kind metadata spec",
        apiVersion={"const": version},
        kind={"const": name},
        metadata=fields(
            "name namespace", name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS
        ),
        spec=fields(required, **spec),
    )


_POLICY = fields(
    "type value periodSeconds",
    type=one_of("Pods", "Percent"),
    value=number(1),
    periodSeconds=number(1, maximum=1800),
)
_SCALING = fields(
    "policies",
    stabilizationWindowSeconds=number(0, maximum=3600),
    policies=some(_POLICY, at_least=1),
)
_MODIFIERS = fields(
    "formula target", formula=TEXT, target=TEXT, metricType=one_of("AverageValue", "Value")
)
_TRIGGER = fields(
    "type name metadata", type=TEXT, name=TEXT, metadata=TEXTS, authenticationRef=NAMED
)
_SECRET_KEY = fields("parameter name key", parameter=TEXT, name=TEXT, key=TEXT)
_EXTERNAL_KEY = fields(
    "secretKey remoteRef",
    secretKey=like("^[-._a-zA-Z0-9]+$"),
    remoteRef=fields("key", key=TEXT, property=TEXT),
)
_RELABELLING = fields(regex=TEXT, replacement=TEXT, sourceLabels=some(TEXT), targetLabel=TEXT)
_ENDPOINT = fields(
    interval=DURATION_OR_0,
    params=entries(some(TEXT)),
    path=TEXT,
    port=TEXT,
    relabelings=some(_RELABELLING),
    scheme=one_of("http", "https", "HTTP", "HTTPS"),
    tlsConfig=fields(insecureSkipVerify=FLAG),
)
_RULE = fields(
    "expr",
    expr=QUANTITY,
    alert=TEXT,
    record=TEXT,
    labels=TEXTS,
    annotations=TEXTS,
    keep_firing_for=DURATION,
    **{"for": DURATION},
) | {"oneOf": [{"required": ["alert"]}, {"required": ["record"]}]}
_RULES = fields("name rules", name=TEXT, interval=DURATION, rules=some(_RULE, at_least=1))
_ROLE = fields(
    "name",
    name=TEXT,
    login=FLAG,
    ensure=one_of("present", "absent"),
    connectionLimit=NUMBER,
    inRoles=some(TEXT),
    passwordSecret=NAMED,
)
_SYNCHRONOUS = fields(
    "method number",
    method=one_of("any", "first"),
    number=NUMBER,
    dataDurability=one_of("required", "preferred"),
)

SCHEMAS: dict[str, Schema] = dict(
    [
        kind(
            "keda.sh/v1alpha1/ScaledObject",
            "scaleTargetRef triggers",
            scaleTargetRef=NAMED,
            pollingInterval=number(1),
            minReplicaCount=number(0),
            maxReplicaCount=number(1),
            advanced=fields(
                scalingModifiers=_MODIFIERS,
                horizontalPodAutoscalerConfig=fields(
                    behavior=fields(scaleUp=_SCALING, scaleDown=_SCALING)
                ),
            ),
            triggers=some(_TRIGGER, at_least=1),
        ),
        kind(
            "keda.sh/v1alpha1/TriggerAuthentication",
            "secretTargetRef",
            secretTargetRef=some(_SECRET_KEY, at_least=1),
        ),
        kind(
            "external-secrets.io/v1/ExternalSecret",
            "secretStoreRef target data",
            refreshInterval=DURATION,
            secretStoreRef=fields(
                "kind name", kind=one_of("SecretStore", "ClusterSecretStore"), name=TEXT
            ),
            target=NAMED,
            data=some(_EXTERNAL_KEY, at_least=1),
        ),
        kind(
            "monitoring.coreos.com/v1/PodMonitor",
            "selector podMetricsEndpoints",
            jobLabel=TEXT,
            selector=fields("matchLabels", matchLabels=TEXTS),
            podMetricsEndpoints=some(
                fields("port", port=TEXT, path=like("^/"), interval=DURATION), at_least=1
            ),
        ),
        kind(
            "monitoring.coreos.com/v1/ServiceMonitor",
            "endpoints selector",
            endpoints=some(_ENDPOINT),
            namespaceSelector=fields(matchNames=some(TEXT)),
            selector=fields(matchLabels=TEXTS),
        ),
        kind("monitoring.coreos.com/v1/PrometheusRule", "groups", groups=some(_RULES, at_least=1)),
        kind(
            "postgresql.cnpg.io/v1/Cluster",
            "instances",
            instances=number(1),
            bootstrap=fields(initdb=fields(database=TEXT, encoding=TEXT, owner=TEXT, secret=NAMED)),
            managed=fields(roles=some(_ROLE)),
            postgresql=fields(parameters=TEXTS, synchronous=_SYNCHRONOUS),
            resources=RESOURCES,
            storage=SIZED,
            walStorage=SIZED,
        ),
        kind(
            "rabbitmq.com/v1beta1/RabbitmqCluster",
            replicas=number(0),
            persistence=fields(storage=QUANTITY),
            rabbitmq=fields(additionalConfig=TEXT),
            resources=RESOURCES,
            tls=fields(secretName=TEXT),
        ),
        kind(
            "rabbitmq.com/v1beta1/Vhost",
            "name rabbitmqClusterReference",
            name=TEXT,
            defaultQueueType=one_of("quorum", "classic", "stream"),
            rabbitmqClusterReference=PERHAPS_NAMED,
        ),
        kind(
            "rabbitmq.com/v1beta1/User",
            "rabbitmqClusterReference",
            rabbitmqClusterReference=PERHAPS_NAMED,
            importCredentialsSecret=PERHAPS_NAMED,
            tags=some(one_of("management", "policymaker", "monitoring", "administrator")),
        ),
        kind(
            "rabbitmq.com/v1beta1/Permission",
            "permissions rabbitmqClusterReference vhost",
            vhost=TEXT,
            permissions=fields(configure=TEXT, read=TEXT, write=TEXT),
            rabbitmqClusterReference=PERHAPS_NAMED,
            userReference=PERHAPS_NAMED,
        ),
    ]
)
"""The schema of each such kind."""
