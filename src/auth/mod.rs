//! Authentication of the peers: pre-shared keys, later certificates and EAP.
