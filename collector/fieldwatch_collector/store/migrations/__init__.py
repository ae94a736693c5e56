"""Numbered migrations, one folder a dialect: ``NNNN_what.sql``. Applied once each, in order; never edited once released."""
