"""infra/stack.yaml as a value.

What does not belong here: what must hold for it (test_template.py).
"""

from __future__ import annotations

from typing import Any

import yaml

from infra import cloudformation

PATH = cloudformation.TEMPLATE


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms (``!Ref``) as its long ones."""


def _long_form(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        value = value.split(".", 1) if tag == "GetAtt" else value
    else:
        value = loader.construct_sequence(node, deep=True)
    return {tag if tag in {"Ref", "Condition"} else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _long_form)
TEMPLATE = yaml.load(PATH.read_text(), _Loader)  # noqa: S506 - a SafeLoader, with constructors of plain values
