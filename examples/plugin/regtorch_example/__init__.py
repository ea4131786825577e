"""A plugin of regtorch."""
