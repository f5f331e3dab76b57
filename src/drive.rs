//! The one loop that joins an endpoint to a link.
