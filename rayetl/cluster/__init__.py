"""Everything that stands on Ray; the only importer of ray and raydp."""
