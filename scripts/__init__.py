"""Small programs around the chain that the Makefile calls; run them in the repository's folder."""
