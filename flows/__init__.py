"""Above the stages: the plan's composition, the command line, Prefect flows, MLflow tracking."""
