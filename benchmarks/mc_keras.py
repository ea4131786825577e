"""Monte Carlo prediction with Keras, in its own environment: ``python mc_keras.py request.npz``, a child of mc.py.

Reads one command per line, and answers each with a line of JSON. ``forward`` and ``samples`` compute; ``moments`` returns
the mean and standard deviation of the latest run, separately so that the transfer is not timed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}

import keras
import numpy as np
import tensorflow as tf
from keras import layers

Run = Callable[[], tuple[np.ndarray, np.ndarray]]


def cnn(drop_prob: float) -> list[keras.Layer]:
    found: list[keras.Layer] = []
    for channels in (32, 64, 128):
        # batch normalization that is not trainable stays in inference mode, even with training=True
        found += [layers.Conv2D(channels, 3, padding="same"), layers.BatchNormalization(trainable=False), layers.ReLU()]
        found += [layers.MaxPooling2D()] if channels < 128 else []
    return [*found, layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dropout(drop_prob)]


def mlp(drop_prob: float) -> list[keras.Layer]:
    found: list[keras.Layer] = [layers.Flatten(), layers.AlphaDropout(drop_prob)]
    for units in (300, 100):
        found += [layers.Dense(units, activation="selu"), layers.AlphaDropout(drop_prob)]
    return found


def build(request: dict[str, np.ndarray]) -> keras.Model:
    body = {"cnn": cnn, "mlp": mlp}[str(request["network"])](float(request["drop_prob"]))
    shape = request["x"].shape[1:]
    model = keras.Sequential([layers.Input(shape), *body, layers.Dense(10, activation="softmax")])
    with_weights = [layer for layer in model.layers if layer.weights]
    for index, layer in enumerate(with_weights):
        layer.set_weights([request[f"{index}.{part}"] for part in range(len(layer.weights))])
    return model


def runs(request: dict[str, np.ndarray]) -> dict[str, Run]:
    model, x, samples = build(request), tf.constant(request["x"]), int(request["samples"])
    deterministic = tf.function(lambda rows: model(rows, training=False))
    stochastic = tf.function(lambda rows: model(rows, training=True))

    def forward() -> tuple[np.ndarray, np.ndarray]:
        probabilities = deterministic(x).numpy()
        return probabilities, np.zeros_like(probabilities)

    def sampled() -> tuple[np.ndarray, np.ndarray]:
        drawn = np.stack([stochastic(x).numpy() for _ in range(samples)])
        return drawn.mean(0), drawn.std(0)

    return {"forward": forward, "samples": sampled}


def main() -> None:
    with np.load(sys.argv[1]) as request:
        commands = runs(dict(request))
    mean = std = np.zeros(0)
    print(json.dumps({"keras": keras.__version__, "tensorflow": tf.__version__}), flush=True)
    for line in sys.stdin:
        answer: dict[str, object] = {"done": line.strip()}
        if line.strip() == "moments":
            answer |= {"mean": mean.tolist(), "std": std.tolist()}
        else:
            mean, std = commands[line.strip()]()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
