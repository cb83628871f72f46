//! HTTP/1 as bytes: heads, chunks, targets. Pure reading, known by the listener and the proxy; knows neither.
//!
//! Reachable from outside for the fuzz targets and benchmarks, and for nothing else.

pub mod chunks;
pub mod head;
pub mod host;
pub mod lenient;
pub mod percent;
pub mod target;
