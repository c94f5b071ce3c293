"""The PagedAttention paper's memory figures, replayed on the scheduler and page allocator without a model."""
