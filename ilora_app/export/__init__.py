"""What leaves the project: adapters of any rank, merged models, and their cards."""
