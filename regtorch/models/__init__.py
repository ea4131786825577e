"""Models assembled from parts: multilayer perceptrons and convolutional networks."""
