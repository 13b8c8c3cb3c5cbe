//! Bodies that wait for their client to make room for more of them.

use std::rc::Rc;

use super::ClientConnection;

/// A body whose client has not made room for more of it (RFC 9113, section 5.2), for as long as this lives: nobody asks
/// for more, so that it can't look after itself.
pub(crate) struct HeldUp(Rc<ClientConnection>);

impl HeldUp {
    pub(crate) fn new(client: Rc<ClientConnection>) -> Self {
        client.held_up.set(client.held_up.get() + 1);
        Self(client)
    }
}

impl Drop for HeldUp {
    fn drop(&mut self) {
        self.0.held_up.set(self.0.held_up.get() - 1);
        self.0.made_room.set(true);
    }
}
