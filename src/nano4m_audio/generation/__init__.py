"""What a trained model makes from given modalities, as files that people open."""
