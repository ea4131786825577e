"""``--help``: groups, options and common keys. Hydra's own help takes a second to list them."""

from __future__ import annotations

from pathlib import Path

import regtorch.conf
from regtorch.config.plugin_options import plugin_nodes
from regtorch.registry import PACKAGES, available

_HEAD = """\
Train a regularized network: regtorch-train GROUP=OPTION ... KEY=VALUE ...

Groups and their options:
"""
_TAIL = """
For other places: regularizer@bias_regularizer=l2, regularizer@activity_regularizer=l1, constraint@bias_constraint=max_norm,
dropout@input_dropout=alpha, initializer@head_initializer=glorot_uniform, schedule@penalty_schedule=cosine,
schedule@dropout_schedule=cosine

Several options of a group at once: regularizer=[l1,orthogonal], constraint=[non_neg,max_norm], augmentation=[crop,flip],
callbacks=[early_stopping,ema]

Common keys: seed, trainer.max_epochs, trainer.precision, trainer.devices, optimizer.lr, data.batch_size, data.path,
model.hidden, model.channels, regularizer.l1, regularizer.l2, regularizer.where, dropout.drop_prob, dropout.keep_prob,
constraint.max_value, evaluate, checkpoint.every_n_steps, checkpoint.every_seconds, compile, ckpt_path

Resume a run:                      regtorch-train resume=FOLDER
Repeat a run:                      regtorch-train rerun=FOLDER

Run a grid:                        regtorch-train -m regularizer=none,l1,l2 seed=1,2,3
Resume a grid:                     regtorch-train -m sweep.resume=FOLDER   (sweep.by=test.nll orders its leaderboard,
                                   sweep.retry_failed=true runs failed points again)
Search with Optuna:                regtorch-train -m hparams_search=l1_l2 hparams_search.trials=40
Compare recipes over seeds:        regtorch-compare experiment=digits_standard,digits_custom seeds=5
Print the configuration:           regtorch-train ... --cfg job
Use your own recipes:              regtorch-train --config-dir FOLDER experiment=NAME   (FOLDER/experiment/NAME.yaml)
List the installed plugins:        regtorch-plugins
Hydra's own flags:                 regtorch-train --hydra-help
"""


def help_text() -> str:
    """Return the text of ``regtorch-train --help``, unwrapped; needs no torch."""
    folder = Path(regtorch.conf.__file__).parent
    lines = []
    groups = sorted(path for path in folder.iterdir() if path.is_dir() and any(path.glob("*.yaml")))
    for group in groups:
        if group.name == "study":  # lists of recipes for regtorch-compare, not options of a run
            continue
        options = {path.stem for path in group.glob("*.yaml")}
        options |= set(available(group.name)) if group.name in PACKAGES else set()
        options |= {option for name, option in plugin_nodes() if name == group.name}
        text = ", ".join(sorted(options))
        lines.append(f"  {group.name:15}{text}" if len(group.name) < 15 else f"  {group.name}  {text}")
    return _HEAD + "\n".join(lines) + "\n" + _TAIL
