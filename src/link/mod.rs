//! Sockets, and the simulated network that replaces them.
