"""The artefact that pretrain, extract and fit share: front ends, backbones, save and load."""
