"""Methods × metrics × data → rows on disk → one table: resumable, with standard errors and the papers' numbers beside."""
