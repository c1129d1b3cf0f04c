"""Find a pipeline by its name or by the path of a Python file."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

from millrace.base.errors import ConfigurationError, MillraceError
from millrace.base.redact import redact
from millrace.declaration.pipeline import Pipeline

ATTRIBUTE = "pipeline"
"""The attribute of a module that a path means if it names none."""
PACKAGE = "millrace.pipelines"
"""The package with one subpackage for each pipeline that ships with Millrace."""


def find_pipeline(name: str) -> Pipeline:
    """Return the pipeline that ships as ``name`` (``stori``), or that of the path ``path/to/module.py:attribute``.

    Without ``:attribute`` the attribute is `pipeline`. Raises ConfigurationError if there is no such pipeline, if its
    module cannot be imported, or if it is not a Pipeline.
    """
    file, attribute = split_path(name) if is_path(name) else ("", ATTRIBUTE)
    module = _from_file(Path(file)) if file else _from_package(name)
    found = getattr(module, attribute, None)
    if not isinstance(found, Pipeline):
        raise ConfigurationError(
            f"{attribute!r} is not a Pipeline",
            place=f"pipeline {name}",
            remedy="write `pipeline = Pipeline(...)` in that module",
        )
    return found.with_path(name) if file else found


def is_path(name: str) -> bool:
    """Return whether ``name`` is a path; else it is the name of a pipeline that ships with Millrace."""
    return ":" in name or name.endswith(".py")


def split_path(name: str) -> tuple[str, str]:
    """Split ``file:attribute`` into file and attribute; without ``:attribute`` that is `pipeline`."""
    file, separator, attribute = name.rpartition(":")
    return (file, attribute) if separator else (name, ATTRIBUTE)


def pipeline_names() -> list[str]:
    """Return the names of the pipelines that ship with Millrace."""
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__))


def _from_package(name: str) -> ModuleType:
    if name not in pipeline_names():
        raise ConfigurationError(
            f"there is no pipeline {name!r}",
            remedy=f"choose from {', '.join(pipeline_names())}, or give path/to/module.py:attribute",
        )
    package = importlib.import_module(PACKAGE)
    with _translate_import_errors(Path(package.__path__[0]) / name):
        return importlib.import_module(f"{PACKAGE}.{name}")


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigurationError("there is no such file", place=str(path), remedy="give path/to/module.py:attribute")
    module_name = f"millrace_pipeline_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError("this is not a Python module", place=str(path), remedy="its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    with _translate_import_errors(path.parent):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _translate_import_errors(folder: Path) -> Iterator[None]:
    """Translate whatever a pipeline's module raises into a ConfigurationError at a line of a file in ``folder``."""
    try:
        yield
    except MillraceError:
        raise
    except Exception as error:
        lines = [(frame.filename, frame.lineno) for frame in extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError):
            lines.append((error.filename or "", error.lineno))
        lines_of_folder = [(file, line) for file, line in lines if Path(file).parent == folder]
        place = "{}, line {}".format(*lines_of_folder[-1]) if lines_of_folder else str(folder)
        problem = f"it cannot be imported ({type(error).__name__}: {redact(error)})"
        raise ConfigurationError(problem, place=place, remedy="correct it there") from error
