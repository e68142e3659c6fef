//! Wire types of the API, and its client
