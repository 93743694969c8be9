"""Every pretrained model behind a Protocol, found by the registry."""
