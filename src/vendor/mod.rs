//! What is known of each vendor's box.
