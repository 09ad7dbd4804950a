"""MLflow as a view of the records: everything it shows can be deleted and is filled again from data/records.

Nothing here imports MLflow at import time: it costs 2 s, and only the tracker pays them.
"""

UI_PORT = 5000  # where `prelude ui` shows a local database
