"""How the missing pieces of files arrive from sources."""
