"""From decoded clips to accepted ones: scores, verdicts, duplicates, split."""
