"""The model family: components, configuration, graphs, and which family a checkpoint is."""
