"""The interfaces of a market: one dispatcher, one provider, all in parallel, all in turn."""
