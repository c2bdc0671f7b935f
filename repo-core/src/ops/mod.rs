//! Verbs: one folder or file per operation. Operations never use each other.
