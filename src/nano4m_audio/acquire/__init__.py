"""From lists of clips to decoded clips: sources, the synthetic world, media checks, decoding."""
