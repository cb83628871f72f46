//! The admin listener over real sockets: the gate before each route, and what each route tells and does.

mod browser;
mod contract;
mod gate;
mod health;
mod page;
mod process;
mod routes;
pub(crate) mod support;
