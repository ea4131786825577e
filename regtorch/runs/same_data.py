"""Check that the data is the same as the data that a checkpoint was trained on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regtorch.errors import DataError
from regtorch.runs.checkpoint_header import read_description

log = logging.getLogger("regtorch")


def check_same_data(config: Mapping[str, Any], data: Any, path: Path | None) -> None:
    """Refuse to train on data that does not fit the checkpoint, or that has changed since a resumed run.

    A new run from a checkpoint (``ckpt_path``) may have other rows, which is logged, unless the checkpoint was written in
    the middle of an epoch. Checkpoints of older versions do not store a digest of their data.

    Args:
        config: the run's configuration, as plain containers.
        data: the data set.
        path: the checkpoint; None: there is none.

    Raises:
        DataError: names the difference and the remedy.
    """
    if path is None:
        return
    resumed = config.get("ckpt_path") is None
    key = "resume" if resumed else "ckpt_path"
    given = f"{key}={config[key]} is not allowed"
    described, splits = read_description(path), data.load()
    here = {"shape": list(splits.shape), "classes": len(splits.classes)}
    for name, words in (("shape", "rows of shape {}"), ("classes", "{} classes")):
        there = described.get(name)
        if there is not None and there != here[name]:
            raise data.error(
                f"has {words.format(here[name])}, but {key}={config[key]} was trained on {words.format(there)}"
            )
    there = described.get("data_digest")
    if not there or not isinstance(there, Mapping) or there == (now := data.digest()):
        return
    difference = _difference(there, now)
    if described.get("batches"):
        raise DataError(
            f"{given}: it was stopped in the middle of an epoch, and the data has changed since ({difference}); resume with "
            "the data that it was trained on"
        )
    if resumed and config["data"].get("changed") != "allow":
        raise DataError(
            f"{given}: the data has changed since it was trained on ({difference}); to resume with the changed data: "
            "data.changed=allow"
        )
    log.warning("the data has changed since %s was trained on it (%s)", config[key], difference)


def _difference(there: Mapping[str, Any], here: Mapping[str, str]) -> str:
    differences = []
    for part in {**there, **here}:
        before, now = (str(digests.get(part, "none")).partition(":")[0] for digests in (there, here))
        if there.get(part) != here.get(part):
            differences.append(f"{part}: {before} rows, now {now}" if before != now else f"{part}: other values")
    return ", ".join(differences)
