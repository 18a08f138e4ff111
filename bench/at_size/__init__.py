"""The pages that everybody uses, with years of data in PostgreSQL, beside a bare Django list on the same server."""
