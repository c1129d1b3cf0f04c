"""What holds for every pipeline of this package."""

from __future__ import annotations

import pytest

from pipelines import find, names


@pytest.mark.parametrize("name", names())
def test_a_name_is_a_pipelines(name: str) -> None:
    assert find(name).name == name


@pytest.mark.parametrize("name", names())
def test_a_reference_has_the_type_of_the_key_it_holds(name: str) -> None:
    pipeline = find(name)
    dimensions = {model.name: model for model in pipeline.models}
    for model in pipeline.models:
        for column, dimension in model.references.items():
            (key,) = dimensions[dimension].keys
            held, wanted = model.schema.columns()[column], dimensions[dimension].schema.columns()[key]
            assert (held.dtype, held.nullable) == (wanted.dtype, False), f"{model.name}.{column}"
