"""A layout described in TOML, for those who want no plugin."""
