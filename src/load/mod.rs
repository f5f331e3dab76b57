//! Load: many tunnels at a planned rate, measured.
