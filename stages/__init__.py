"""The DAG's stages: ingest, pretrain, extract, fit, evaluate, report, and what they share."""
