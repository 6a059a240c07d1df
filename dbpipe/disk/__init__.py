"""Files on disk, never in the place of somebody else's: `beside`, `ledger`, `places`, `trees`."""
