"""What holds for every pipeline of this package."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.base.errors import ConfigurationError
from millrace.declaration.find import find_pipeline, pipeline_names


@pytest.mark.parametrize("name", pipeline_names())
def test_a_name_is_a_pipelines(name: str) -> None:
    assert (find_pipeline(name).name, find_pipeline(name).cli_name) == (name, name)


@pytest.mark.parametrize("name", pipeline_names())
def test_a_reference_has_the_type_of_the_key_it_holds(name: str) -> None:
    pipeline = find_pipeline(name)
    dimensions = {model.name: model for model in pipeline.models}
    for model in pipeline.models:
        for column, dimension in model.references.items():
            (key,) = dimensions[dimension].keys
            held, wanted = model.schema.columns()[column], dimensions[dimension].schema.columns()[key]
            assert (held.dtype, held.nullable) == (wanted.dtype, False), f"{model.name}.{column}"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("\npipeline = Pipeline('shop', [", "shop.py, line 2: .*SyntaxError"),
        ("import millrace\nmillrace.Stream(delets='soft')", "shop.py, line 2: .*TypeError: .*'delets'"),
        ("from millrace import Streem", "shop.py, line 1: .*ImportError: .*'Streem'"),
        ("import json\n\njson.loads('{')", "shop.py, line 3: .*JSONDecodeError"),
        ("raise ValueError('postgresql://reader:s3cr3t@host/shop')", "shop.py, line 1: .*//reader:\\*\\*\\*@host"),
    ],
    ids=["syntax", "a field that is not there", "a name that is not there", "within a library", "a secret"],
)
def test_a_file_that_cannot_be_imported_is_told_by_its_line(code: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    file.write_text(code)
    with pytest.raises(ConfigurationError, match=f"{told}.*Remedy"):
        find_pipeline(f"{file}:pipeline")
