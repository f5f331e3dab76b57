//! The ESP data plane, without I/O (RFC 4303).
