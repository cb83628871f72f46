//! The admin listener: health, metrics, state, and a page for people; a few orders by POST.
//!
//! It runs on a thread of its own beside the workers and reads what they leave in atomics and rings: however much it
//! is asked, no caller waits for it. One gate stands before every route ([`gate`]). Nothing in here shows a token, a
//! secret or a key: none of its sources holds one.

mod answer;
pub mod console;
pub mod gate;
pub mod history;
pub mod json;
pub mod page;
mod parameters;
mod read;
pub mod routes;
pub mod server;
pub mod sources;
pub mod view;
