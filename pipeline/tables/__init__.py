"""The Parquet tables that more than one stage uses: schemas and readers."""
