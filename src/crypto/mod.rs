//! PRFs, ciphers, key exchange and key derivation.
