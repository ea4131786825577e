"""Augmentations: random changes of whole batches of training images, drawn for each image anew."""
