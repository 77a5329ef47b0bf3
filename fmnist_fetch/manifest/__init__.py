"""What a dataset is: its files, their pieces and digests, and the catalogue of known ones."""
