"""Who may see what: ownership, forged callers, secrets and the audit trail."""
