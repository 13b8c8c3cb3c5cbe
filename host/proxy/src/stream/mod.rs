//! HTTP/2 streams, a client's or one to an endpoint: what is the same at both ends.

mod body;
mod io;
mod sender;
mod silence;

pub(crate) use body::StreamBody;
pub(crate) use io::StreamIo;
pub(crate) use sender::{BodySender, Sent};
pub(crate) use silence::Silence;
