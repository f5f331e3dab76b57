//! Terminal text, JUnit, JSON and HTML. Everything here is a pure function from data to text; it reads results and computes nothing.

pub mod compare;
pub mod data;
pub mod diagnosis;
pub mod html;
pub mod ladder;
pub mod load_html;
mod load_plot;
pub mod load_text;
pub mod paint;
pub mod preflight;
pub mod run_junit;
pub mod run_text;
pub mod session;

#[cfg(test)]
mod tests;
