"""Schedules of a penalty's strength or a dropout's probability: the factor at each point of the training."""
