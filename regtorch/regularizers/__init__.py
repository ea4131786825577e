"""Regularizers: functions of one tensor that give a scalar, with their settings."""
