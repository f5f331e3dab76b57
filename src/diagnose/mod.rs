//! From a failure and a transcript to what is likely.
