"""The outputs of a finished run, put where others find them: S3 or the Hugging Face Hub."""
