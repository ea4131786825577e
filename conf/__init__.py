"""The config groups of regtorch: browse the YAML files, or add `pkg://regtorch.conf` to a Hydra search path."""
