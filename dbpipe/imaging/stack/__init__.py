"""The template: `coadd` (the average, and what is rejected), `depth` (how deep differences against it will be)."""
