"""What an override may not say, so that a configuration, also one from a stranger's folder, runs no code but ours.

Components are named by their registered names. Hydra itself would make whatever ``_target_`` names, and its own node
``hydra`` holds log handlers and callbacks by import path.
"""

from __future__ import annotations

from collections.abc import Sequence

from regtorch.errors import DataError, SettingError

#: of Hydra's own settings, those that a folder may bring along: which launcher, and how much of everything
_HARMLESS = (
    *("hydra/launcher", "hydra.launcher.n_jobs", "hydra.launcher.partition", "hydra.launcher.timeout_min"),
    *("hydra.launcher.cpus_per_task", "hydra.launcher.gpus_per_node", "hydra.launcher.mem_gb"),
    *("hydra.launcher.nodes", "hydra.launcher.tasks_per_node", "hydra.launcher.array_parallelism"),
    *("hydra.launcher.ray.remote.num_cpus", "hydra.launcher.ray.remote.num_gpus"),
)
#: keys whose values are paths: of checkpoints, which are read without running anything
_CHECKPOINTS = ("ckpt_path", "resume")


def check_names_only(overrides: Sequence[str]) -> None:
    """Refuse import paths.

    Raises:
        SettingError: an override with ``_target_``.

    Example:
        >>> check_names_only(["regularizer=l2", "model._target_=os.system"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        regtorch.errors.SettingError: model._target_=os.system is not allowed: components are named by their registered names...
    """
    for override in overrides:
        if "_target_" in override:
            raise SettingError(
                f"{override} is not allowed: components are named by their registered names, as in regularizer=l2"
            )


def check_of_folder(overrides: Sequence[str], named: str) -> None:
    """Refuse what a folder of runs says beyond its runs' settings.

    Args:
        overrides: as the folder has kept them.
        named: how the folder is named on the command line.

    Raises:
        DataError: a flag, an import path, or a setting of Hydra's own that may run something.
    """
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        group, _, package = key.partition("@")
        hydras = group.partition(".")[0].partition("/")[0] == "hydra" and key not in _HARMLESS
        elsewhere = "hydra" in package or "_global_" in package or ".." in key or ("/" in key and key not in _HARMLESS)
        # an option of a group is a file: one that a path leads to may be the stranger's own
        file = "." not in group and group not in _CHECKPOINTS and any(sign in value for sign in ("/", "\\", "..", "$"))
        if hydras or elsewhere or file or override.startswith("-") or "_target_" in override:
            raise DataError(
                f"{named}: what is kept there says {override}, which no run says: it may come from a stranger"
            )
