"""Views: batched augmentations on the device, before and after the front end. Shared by pretrain and extract."""
