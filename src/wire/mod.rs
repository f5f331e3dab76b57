//! Bytes to messages and back (RFC 7296 section 3).
