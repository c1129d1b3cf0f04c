"""Find a pipeline by its name, by the path of a Python file, or by a module."""

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
from millrace.declaration.values import find_value, is_value

ATTRIBUTE = "pipeline"
"""The attribute of a module that a path means if it names none."""
PACKAGE = "millrace.pipelines"
"""The package with one subpackage for each pipeline that ships with Millrace."""


def find_pipeline(name: str) -> Pipeline:
    """Return the pipeline of that name.

    It is the name of a pipeline that ships (``stori``), the path of a file (``path/to/module.py:attribute``), a module
    that Python can import (``package.module:attribute``), or the name that ``register_value`` returned. Without
    ``:attribute`` the attribute of a file is `pipeline`. Raises ConfigurationError if there is no such pipeline, if its
    module cannot be imported, or if it is not a Pipeline.
    """
    if is_value(name):
        return find_value(name)
    if not is_path(name):
        return _attribute_of(_from_package(name), ATTRIBUTE, name)
    target, attribute = split_path(name)
    module = _from_file(Path(target)) if is_file(target) else _from_module(target)
    return _attribute_of(module, attribute, name).with_path(name)


def is_path(name: str) -> bool:
    """Return whether ``name`` is a file or a module; else it is the name of a pipeline that ships with Millrace."""
    return ":" in name or name.endswith(".py")


def is_file(target: str) -> bool:
    """Return whether the part of a name before ``:attribute`` is the path of a file; else it is a module."""
    return target.endswith(".py") or "/" in target or Path(target).is_file()


def split_path(name: str) -> tuple[str, str]:
    """Split ``file:attribute`` into file and attribute; without ``:attribute`` that is `pipeline`."""
    target, separator, attribute = name.rpartition(":")
    return (target, attribute) if separator else (name, ATTRIBUTE)


def find_folder(name: str) -> Path:
    """Return the folder in which the module of a pipeline lies, which ``find_pipeline`` has found."""
    if not is_path(name):
        return Path(importlib.import_module(PACKAGE).__path__[0]) / name
    target, _ = split_path(name)
    return (Path(target) if is_file(target) else Path(sys.modules[target].__file__ or "")).parent


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


def _attribute_of(module: ModuleType, attribute: str, name: str) -> Pipeline:
    found = getattr(module, attribute, None)
    if isinstance(found, Pipeline):
        return found
    others = [other for other, value in vars(module).items() if isinstance(value, Pipeline)]
    remedy = (
        f"name {' or '.join(others)} after a colon" if others else "write `pipeline = Pipeline(...)` in that module"
    )
    raise ConfigurationError(f"{attribute!r} is not a Pipeline", place=f"pipeline {name}", remedy=remedy)


def _from_module(name: str) -> ModuleType:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        raise ConfigurationError(
            f"there is no module {name!r}",
            place=f"pipeline {name}",
            remedy="install its package where the flows run or set PYTHONPATH, or give path/to/module.py:attribute",
        )
    with _translate_import_errors(Path(spec.origin).parent):
        return importlib.import_module(name)


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
    except ConfigurationError as error:
        place = ", ".join(filter(None, [_line_of(error, folder), error.place]))
        raise ConfigurationError(error.problem, place=place, remedy=error.remedy) from error
    except MillraceError:
        raise
    except Exception as error:
        place = _line_of(error, folder) or str(folder)
        problem = f"it cannot be imported ({type(error).__name__}: {redact(error)})"
        raise ConfigurationError(problem, place=place, remedy="correct it there") from error


def _line_of(error: Exception, folder: Path) -> str:
    """Return ``file, line n``: the last line of a file in ``folder`` that the error passed; '' if it passed none."""
    lines = [(frame.filename, frame.lineno) for frame in extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        lines.append((error.filename or "", error.lineno))
    lines_of_folder = [(file, line) for file, line in lines if Path(file).parent == folder]
    return "{}, line {}".format(*lines_of_folder[-1]) if lines_of_folder else ""
