"""Whether the data is that of the checkpoint that a training continues from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regtorch.cli.checkpoint import described_model
from regtorch.errors import DataError

log = logging.getLogger("regtorch")


def check_same_data(config: Mapping[str, Any], data: Any, path: Path | None) -> None:
    """Refuse to continue on data that does not fit the checkpoint, or is other data than a resumed run's.

    A new run that begins from a checkpoint (``ckpt_path``) may have other rows, unless that one was stopped in the middle
    of an epoch; a line in its log says so. Checkpoints of older versions do not know their data.

    Args:
        config: of the run, as plain containers.
        data: its data set.
        path: of the checkpoint; None: it continues from none.

    Raises:
        DataError: says what differs, and what to do.
    """
    if path is None:
        return
    resumed = config.get("ckpt_path") is None
    key = "resume" if resumed else "ckpt_path"
    given = f"{key}={config[key]} is not allowed"
    described, splits = described_model(path), data.load()
    here = {"shape": list(splits.shape), "classes": len(splits.classes)}
    for name, words in (("shape", "rows of shape {}"), ("classes", "{} classes")):
        there = described.get(name)
        if there is not None and there != here[name]:
            raise data.error(
                f"has {words.format(here[name])}, and {key}={config[key]} was trained on {words.format(there)}"
            )
    there = described.get("data_digest")
    if not there or not isinstance(there, Mapping) or there == (now := data.digest()):
        return
    said = _difference(there, now)
    if described.get("batches"):
        raise DataError(
            f"{given}: it was stopped in the middle of an epoch, and the data has changed since ({said}): resume on the "
            "data that it was trained on"
        )
    if resumed and config["data"].get("changed") != "allow":
        raise DataError(
            f"{given}: the data has changed since it was trained on ({said}); data.changed=allow resumes on the data as "
            "it is now"
        )
    log.warning("the data has changed since %s was trained on it (%s)", config[key], said)


def _difference(there: Mapping[str, Any], here: Mapping[str, str]) -> str:
    said = []
    for part in {**there, **here}:
        before, now = (str(digests.get(part, "none")).partition(":")[0] for digests in (there, here))
        if there.get(part) != here.get(part):
            said.append(f"{part}: {before} rows, now {now}" if before != now else f"{part}: other values")
    return ", ".join(said)
