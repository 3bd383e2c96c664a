"""Face packs and what runs their networks."""
