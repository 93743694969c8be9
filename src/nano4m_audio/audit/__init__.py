"""What is wrong with a list of clips: any manifest, and the proof that this run's own holds."""
