//! `stockwire-agent watch`: the stations on a display at the bench, readable from two metres.
//!
//! ```text
//!  Station -> Glance -> status (JSON over the Unix socket) -> View -> render -> Frame -> paint -> terminal
//! ```
//!
//! All of it is pure: a picture follows from what the agent said, the time and the size. The loop around it, which
//! asks the agent and owns the terminal, is [`io::watcher`](crate::io::watcher).

pub mod block;
pub mod canvas;
pub mod glance;
pub mod render;
pub mod view;
