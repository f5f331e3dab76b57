//! The honest sans-IO IKEv2 peer.
