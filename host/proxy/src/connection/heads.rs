//! How much the heads of an HTTP/2 connection's requests take up.

use std::{cell::Cell, rc::Rc};

/// What the heads of a connection's requests may take up together, while they wait for their answers: as much as their
/// bodies. Alone each may be large, but a client that sends one compresses the others to a few bytes ("HPACK bomb").
const MAX: usize = 1 << 20;

/// What all of them take up.
#[derive(Debug, Default)]
pub(crate) struct HeadBytes(Cell<usize>);

/// What one of them takes up, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    all: Rc<HeadBytes>,
    bytes: usize,
}

impl HeadBytes {
    /// Takes in a head. None when it is too much.
    pub(crate) fn hold(self: &Rc<Self>, bytes: usize) -> Option<Held> {
        let all = self.0.get() + bytes;
        if all > MAX {
            return None;
        }
        self.0.set(all);
        Some(Held { all: Rc::clone(self), bytes })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let HeadBytes(all) = &*self.all;
        all.set(all.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_so_until_something_is_let_go_of() {
        let all = Rc::<HeadBytes>::default();
        let (one, other) = (all.hold(MAX / 2), all.hold(MAX / 2));
        assert!(one.is_some() && other.is_some() && all.hold(1).is_none());
        drop(one);
        assert!(all.hold(MAX / 2 + 1).is_none());
        assert!(all.hold(MAX / 2).is_some());
        drop(other);
        assert_eq!(all.0.get(), 0);
    }
}
