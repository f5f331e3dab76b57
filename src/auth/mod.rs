//! How peers prove who they are: certificate paths and EAP methods, without I/O.

pub mod eap;
