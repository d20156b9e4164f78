"""What a key takes, in words, for the reference and for messages."""

from __future__ import annotations

from typing import Any

_WORDS = {
    "integer": ("whole number", "whole numbers"),
    "number": ("number", "numbers"),
    "string": ("text", "texts"),
    "boolean": ("true or false", "true or false"),
    "null": ("`null`", "`null`"),
    "object": ("table", "tables"),
}


def describe(schema: dict[str, Any], *, many: bool = False) -> str:
    """What a key takes, from its JSON schema, for example `list of whole numbers > 50`.

    Args:
        schema: of the key.
        many: in the plural.
    """
    if "anyOf" in schema:
        return " or ".join(describe(kind, many=many) for kind in _kinds(schema))
    if "$ref" in schema:
        return _WORDS["object"][many]
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            entries = schema["prefixItems"]
            return f"list of {len(entries)} {describe(entries[0], many=True)}"
        case "array":
            least = ", at least one" if schema.get("minItems") else ""
            return f"list of {describe(schema['items'], many=True)}{least}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"table of {describe(schema['additionalProperties'], many=True)}"
        case kind:
            return f"{_WORDS[str(kind)][many]} {_range(schema)}".strip()


def _kinds(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The kinds of value that a key takes; a number may always be whole."""
    kinds = schema.get("anyOf", [schema])
    is_number = any(kind.get("type") == "number" for kind in kinds)
    return [kind for kind in kinds if not (is_number and kind.get("type") == "integer")]


def request(schema: dict[str, Any]) -> str:
    """The same as a request, for example `give a whole number from 1 to 9`."""
    return "give " + " or ".join(map(_with_article, _kinds(schema)))


def _with_article(schema: dict[str, Any]) -> str:
    text = describe(schema).replace("`", "")
    if "enum" in schema:
        return f"one of {text}"
    return text if "const" in schema or schema.get("type") in ("boolean", "null") else f"a {text}"


def _range(schema: dict[str, Any]) -> str:
    """The limits of a number."""
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if schema["type"] == "integer" and above is not None:
        least, above = above + 1, None
    if least is not None and most is not None:
        return f"from {least:.12g} to {most:.12g}"
    signs = {"≥": least, ">": above, "≤": most, "<": below}
    return " and ".join(
        f"{sign} {limit:.12g}" for sign, limit in signs.items() if limit is not None
    )
