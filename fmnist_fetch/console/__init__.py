"""What people see: sentences, tables, progress."""
