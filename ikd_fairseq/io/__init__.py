"""Files: written atomically, memory-mapped, read with their damage named. Knows no other room."""
