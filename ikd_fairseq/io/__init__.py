"""Files: written atomically, memory-mapped, read with their damage named. No other room of ours is known here."""
