"""What people read: one model of a table, and how it is drawn."""
