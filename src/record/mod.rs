//! What is kept of a run: capture, key tables, transcript.
