"""The plugin host: entry points, hooks, and what is declared by whom."""
