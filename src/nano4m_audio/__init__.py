"""nano4M-Audio: from labelled web video to five-modality tokens, a small 4M model and a report."""
