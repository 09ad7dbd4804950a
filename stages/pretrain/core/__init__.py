"""How an encoder is trained: data, trainer, snapshots, health, monitor. Parts (objectives) lie beside it."""
