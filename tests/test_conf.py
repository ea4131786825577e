"""Config files are documented: purpose of each file, and allowed values of its keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from regtorch.registry import PACKAGES, available, component

CONF = Path(__file__).parents[1] / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
COMPONENTS = [path for path in FILES if path.parent.name in PACKAGES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_config_files_start_with_a_description_and_document_every_key(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    opening = next(line for line in lines if not line.startswith("# @package"))
    assert re.match(r"# \S.{20,}", opening), opening
    if path.parent.name in ("experiment", "conf"):
        return
    header = " ".join(line for line in lines if line.startswith("#"))
    for line in lines:
        key = re.match(r"(\w+): ?", line)
        if key and key.group(1) not in ("name", "defaults", "hparams_search"):
            assert "#" in line or key.group(1) in header, f"{path.name}: {line}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_no_key_or_option_is_read_as_a_yaml_boolean(path: Path) -> None:
    assert path.stem not in ("on", "off", "yes", "no", "true", "false", "y", "n", "null")

    def keys(node: object) -> list[object]:
        return [k for key, value in node.items() for k in (key, *keys(value))] if isinstance(node, dict) else []

    assert all(isinstance(key, str) for key in keys(yaml.safe_load(path.read_text(encoding="utf-8"))))


def test_components_and_config_files_correspond() -> None:
    for kind in PACKAGES:
        own = {name for name in available(kind) if component(kind, name).module.startswith("regtorch.")}
        files = {path.stem for path in (CONF / kind).glob("*.yaml")}
        assert files == own, kind
    for path in COMPONENTS:
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"] == path.stem


def test_no_configuration_names_an_import_path() -> None:
    assert not [path for path in FILES if "_target_" in path.read_text(encoding="utf-8")]
