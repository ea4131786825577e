"""What the scripts and console commands run. Nothing here imports torch before a configuration has been checked."""
