"""JSON as no dict can hold it: keys twice, numbers without end, whatever a parser may meet.

A test writes down a valid document, Hypothesis changes it where it likes, `dump` makes it bytes.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Path = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pairs:
    """An object; a key may stand in it twice."""

    items: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Raw:
    """A literal that goes into the document as it is."""

    text: str


def tree(value: Any) -> Any:
    """Return plain Python as a tree."""
    if isinstance(value, dict):
        return Pairs(tuple((key, tree(inner)) for key, inner in value.items()))
    return [tree(inner) for inner in value] if isinstance(value, list) else value


def dump(node: Any, *, escaped: bool = True) -> bytes:
    """Return a tree as JSON, or as near to it as its literals and surrogates let it be."""
    return _dump(node, escaped).encode("utf-8", "surrogatepass")


def _dump(node: Any, escaped: bool) -> str:
    match node:
        case Pairs(items):
            inner = [f"{_dump(key, escaped)}:{_dump(value, escaped)}" for key, value in items]
            return "{" + ",".join(inner) + "}"
        case list():
            return "[" + ",".join(_dump(value, escaped) for value in node) + "]"
        case Raw(text):
            return text
        case _:
            return json.dumps(node, ensure_ascii=escaped)


# What has broken parsers, columns, logs and headers before.
ODD_TEXTS = [
    "", " ", "\x00", "a\x00b", "\x1b[31m", "\r\nX: y", "\u202eabc", "\u200b", "\ufeff", "\u2028",
    "\ud800", "\udc00\ud800", "\U0001f600", "e\u0301", "true", "null", "\\u0000", '"', "x" * 129,
    "9" * 70_000, "${jndi:x}", "%s%n", "²", "٣", "0", "1", "{}", '{"chargeFlag":"1"}',
]  # fmt: skip
ODD_LITERALS = [
    "NaN", "Infinity", "-0", "1e999", "1E400", "0.1", "9" * 30, "-" + "9" * 5_000,
    "[" * 300 + "]" * 300, "18446744073709551616", '"\\ud800"', '"\\u0000"', "tru", "", "{",
    "'x'", "/**/1",
]  # fmt: skip

texts = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(ODD_TEXTS)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | texts
    | st.sampled_from(ODD_LITERALS).map(Raw)
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(st.tuples(texts, inner), max_size=4).map(lambda items: Pairs(tuple(items)))
    ),
    max_leaves=8,
)


@st.composite
def mutated(
    draw: st.DrawFn, start: Any, values: Sequence[Any], keys: Sequence[str], most: int = 4
) -> Any:
    """Return a document with up to `most` changes; `values` and `keys` are what it is about."""
    node = start
    own = st.sampled_from(values)
    around = st.builds(lambda text, value: f"{text}{value}{text}", texts, own)
    anything = st.one_of(own, around, scalars, documents)
    names = st.sampled_from(keys) | texts
    for _ in range(draw(st.integers(0, most))):
        path = draw(st.sampled_from(list(_paths(node))))
        old = _at(node, path)
        match draw(st.sampled_from(("replace", "wrap", "drop", "twice", "rename", "add", "copy"))):
            case "replace":
                new = draw(anything)
            case "wrap":
                new = [old]
            case "copy":
                new = _at(node, draw(st.sampled_from(list(_paths(node)))))
            case how:
                new = _edited(draw, old, how, names, anything)
        node = _put(node, path, new)
    return node


def changed(
    valid: st.SearchStrategy[Any], values: Sequence[Any], keys: Sequence[str]
) -> st.SearchStrategy[bytes]:
    """Return bodies that were valid before Hypothesis changed them, other documents, and none."""
    return st.one_of(
        st.builds(
            lambda node, escaped: dump(node, escaped=escaped),
            valid.flatmap(lambda start: mutated(start, values, keys)),
            st.booleans(),
        ),
        st.builds(dump, documents),
        st.binary(max_size=200),
    )


def _edited(
    draw: st.DrawFn, node: Any, how: str, names: st.SearchStrategy[str], values: Any
) -> Any:
    """Return an object with one key gone, there twice, under another name or new."""
    if not isinstance(node, Pairs):
        return draw(values)
    items = list(node.items)
    place = draw(st.integers(0, max(0, len(items) - 1)))
    if how == "add" or not items:
        items.insert(place, (draw(names), draw(values)))
    elif how == "drop":
        del items[place]
    elif how == "twice":
        items.insert(draw(st.integers(0, len(items))), (items[place][0], draw(values)))
    else:
        items[place] = (draw(names | st.just(items[place][0].upper())), items[place][1])
    return Pairs(tuple(items))


def children(node: Any) -> list[Any]:
    """Return what stands directly in an object or an array."""
    if isinstance(node, Pairs):
        return [value for _, value in node.items]
    return node if isinstance(node, list) else []


def _paths(node: Any, here: Path = ()) -> Iterator[Path]:
    yield here
    for place, inner in enumerate(children(node)):
        yield from _paths(inner, (*here, place))


def _at(node: Any, path: Path) -> Any:
    for place in path:
        node = children(node)[place]
    return node


def _put(node: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    place, rest = path[0], path[1:]
    if isinstance(node, Pairs):
        items = list(node.items)
        items[place] = (items[place][0], _put(items[place][1], rest, new))
        return Pairs(tuple(items))
    return [
        _put(inner, rest, new) if number == place else inner for number, inner in enumerate(node)
    ]
