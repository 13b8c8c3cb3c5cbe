//! Lines of text over a Unix socket, with file descriptors beside them.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};
use tokio::{io::Interest, net::UnixStream};

/// The longest line: a word and an address are much shorter.
const MAX_LINE: usize = 256;

/// One side of a conversation.
pub(super) struct Wire {
    stream: UnixStream,
    /// Received, and not yet taken.
    text: Vec<u8>,
    /// The same, in the order of the lines that they came with.
    sockets: VecDeque<OwnedFd>,
}

impl Wire {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, text: Vec::new(), sockets: VecDeque::new() }
    }

    /// Sends a line, and maybe a socket with it.
    pub(super) async fn send(&self, line: &str, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let line = format!("{line}\n");
        let send = || {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if let Some(socket) = &socket {
                beside.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(socket)));
            }
            Ok(sendmsg(&self.stream, &[IoSlice::new(line.as_bytes())], &mut beside, SendFlags::NOSIGNAL)?)
        };
        // The kernel takes so few bytes whole or not at all.
        match self.stream.async_io(Interest::WRITABLE, send).await? {
            sent if sent == line.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// The next line.
    pub(super) async fn receive(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line = self.text.drain(..=end).take(end).collect();
                return String::from_utf8(line).map_err(io::Error::other);
            }
            if self.text.len() > MAX_LINE {
                return Err(io::Error::other("a line is too long"));
            }
            self.read().await?;
        }
    }

    /// The socket that came with the line, if one did.
    pub(super) fn take_socket(&mut self) -> Option<OwnedFd> {
        self.sockets.pop_front()
    }

    async fn read(&mut self) -> io::Result<()> {
        let Self { stream, text, sockets } = self;
        let read = || {
            let mut bytes = [0; MAX_LINE];
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let read = recvmsg(&*stream, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    sockets.extend(received);
                }
            }
            text.extend(&bytes[..read.bytes]);
            Ok(read.bytes)
        };
        match stream.async_io(Interest::READABLE, read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
