"""Shared testers: every component of a kind passes through its kind's tester."""
