//! Backup, restore and verification: operations over capture and vault
