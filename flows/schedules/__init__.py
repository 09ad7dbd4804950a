"""Schedules: what Prefect runs at its time. Each flow is a file of its name; `prelude serve` and prefect.yaml deploy them."""

NAMES = ("nightly", "weekly_verify", "watch")
CRON = {"nightly": "0 2 * * *", "weekly_verify": "0 4 * * 0"}
INTERVAL_S = {"watch": 300.0}
SERVING = "PRELUDE_SERVE"  # in the environment of flow runs that `prelude serve` starts: its process
