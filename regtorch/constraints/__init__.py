"""Constraints: functions of one tensor that move it onto or towards a set, with their settings."""
