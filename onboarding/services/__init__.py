"""What people do: each function is one act, checked, done in one transaction, and put into the audit log."""
