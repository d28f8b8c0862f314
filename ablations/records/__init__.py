"""What was trained and with what outcome: the database, the arrays that are read from it, tidy exports."""
