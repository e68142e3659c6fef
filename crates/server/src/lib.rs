//! The HTTP API, the job runner, and the wiring of engines to adapters
