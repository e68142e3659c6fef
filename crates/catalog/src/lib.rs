//! The state of a site, in SQL
