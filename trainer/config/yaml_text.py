"""YAML as people write it: `off`, `on`, `yes` and `no` are words, `1e-6` is a number, and a key given twice is an error.

PyYAML follows YAML 1.1, where `kind: off` means false, `1e-6` is text, `2026-01-31` a date, `1:30` is 90, `010` is 8 and the
second of two equal keys wins in silence. Here booleans and numbers are those of YAML 1.2, whole numbers in decimal only.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?[0-9]+$")
_NUMBER = r"(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_FLOAT = re.compile(rf"^(?:[-+]?(?:{_NUMBER}|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))$")
_REPLACED = {_TAG + name for name in ("bool", "int", "float", "timestamp")}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012 - the shape that PyYAML expects
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_document(self, node: yaml.Node) -> Any:
        # PyYAML would build what holds itself, which nothing that walks through values survives. Building each part as
        # soon as it is met lets `construct_object` see that it is not complete yet.
        self.deep_construct = True
        return super().construct_document(node)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node in self.recursive_objects:
            message = "what begins here holds itself through an alias (*); write the values out"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
        return super().construct_object(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = [key for key, count in counts.items() if count > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what either edition of YAML would take for something else than text."""


_Loader.add_implicit_resolver(_TAG + "bool", _BOOL, list("tTfF"))
_Loader.add_constructor(_TAG + "int", _Loader.construct_yaml_int)
_Loader.add_implicit_resolver(_TAG + "int", _INT, list("-+0123456789"))  # before float, which takes whole numbers, too
_Loader.add_implicit_resolver(_TAG + "float", _FLOAT, list("-+0123456789."))
_Dumper.add_implicit_resolver(_TAG + "float", _FLOAT, list("-+0123456789."))


def read(text: str) -> Any:
    """What a YAML text holds.

    Raises:
        ValueError: the text is not valid YAML; the message says where and why.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{where}{error.problem}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())) from None


def write(values: Any) -> str:
    """Plain values as YAML, in their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
