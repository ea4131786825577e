"""Learning-rate schedules: settings, which build torch's schedulers once optimizer and length are known."""
