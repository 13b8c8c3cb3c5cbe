//! A client's body on its way to an endpoint: what is noted of it, read ahead of it, and copied of it.

use std::{
    cell::Cell,
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::{client_body::ClientBody, mirror::Copying};

/// How a client's body is getting on.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    /// Frames passed on.
    pub(crate) frames: Cell<u64>,
    /// Whether the client broke it off, or it was cut off.
    pub(crate) broke: Cell<bool>,
    /// How many more bytes may come, where that is limited.
    pub(crate) left: Cell<Option<u64>>,
    /// Whether more came.
    pub(crate) is_too_long: Cell<bool>,
}

impl Upload {
    /// Takes in a frame. Whether it may be passed on.
    fn passes(&self, frame: &Frame<Bytes>) -> bool {
        self.frames.set(self.frames.get() + 1);
        let (Some(left), Some(data)) = (self.left.get(), frame.data_ref()) else { return true };
        self.left.set(left.checked_sub(data.len() as u64));
        self.is_too_long.set(self.left.get().is_none());
        !self.is_too_long.get()
    }
}

/// Why a request's body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error(transparent)]
    Client(#[from] hyper::Error),
    #[error(transparent)]
    Stream(#[from] h2::Error),
    #[error("the body is longer than its route allows")]
    TooLong,
}

/// What is left of a request, in a task that ends with this.
#[derive(Debug)]
pub(crate) struct Rest(JoinHandle<()>);

impl Rest {
    pub(crate) fn spawn(rest: impl Future<Output = ()> + 'static) -> Self {
        Self(tokio::task::spawn_local(rest))
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// For how long the rest of a body is taken from a client after nobody wants it any more. An endpoint may answer
/// before it has all of a body; a client that still sends would see its connection reset, and perhaps never the
/// answer (RFC 9112, section 9.6). As NGINX's `lingering_time`.
const LINGER: Duration = Duration::from_secs(30);

/// A client's body, which is read to its end even when it is dropped before that.
#[derive(Debug)]
pub(crate) struct Lingering {
    incoming: Option<ClientBody>,
    /// Whether the client waits to be asked for it, and was not yet.
    is_unasked: bool,
    /// What was read ahead of its being sent.
    early: Option<Box<Early>>,
    /// Who gets a copy of it. In a box, because it is rare.
    copying: Option<Box<Copying>>,
}

/// The beginning of a body, for a policy that looks at it.
#[derive(Debug, Default)]
struct Early {
    frames: VecDeque<Result<Frame<Bytes>, UploadError>>,
    /// Of data.
    bytes: usize,
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take().filter(|incoming| !incoming.is_end_stream()) else {
            return;
        };
        // Not what the client does not send any more, nor when the worker itself is going.
        if self.is_unasked || std::thread::panicking() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        tokio::task::spawn_local(tokio::time::timeout(LINGER, async move {
            let mut incoming = incoming;
            // To its end, or to where it breaks off.
            while let Some(Ok(_)) = poll_fn(|cx| incoming.poll_frame(cx)).await {}
        }));
    }
}

impl Lingering {
    /// A body that has not begun.
    pub(crate) fn new(incoming: ClientBody, is_unasked: bool) -> Self {
        Self { incoming: Some(incoming), is_unasked, early: None, copying: None }
    }

    /// Lets it be copied as it passes.
    pub(crate) fn copy_to(&mut self, copying: Copying) {
        self.copying = Some(Box::new(copying));
    }

    /// The next frame, which is noted.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        upload: &Upload,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.is_unasked = false;
        let early = self.early.as_mut().and_then(|early| early.frames.pop_front());
        let frame = match (early, &mut self.incoming) {
            (Some(frame), _) => Some(frame),
            (None, Some(incoming)) => ready!(incoming.poll_frame(cx)),
            (None, None) => None,
        };
        if let (Some(early), Some(Ok(frame))) = (&mut self.early, &frame) {
            early.bytes = early.bytes.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        }
        match &frame {
            Some(Ok(frame)) if upload.passes(frame) => {
                if self.copying.is_some() {
                    self.copy(frame);
                }
            }
            Some(Ok(_)) => {
                upload.broke.set(true);
                // The rest is still taken from the client, for a while.
                return Poll::Ready(Some(Err(UploadError::TooLong)));
            }
            Some(Err(_)) => {
                upload.broke.set(true);
                self.incoming = None;
            }
            None => {
                self.incoming = None;
                if let Some(copying) = self.copying.take() {
                    copying.send();
                }
            }
        }
        Poll::Ready(frame)
    }

    /// Reads ahead, until so many bytes are there, or all. Frames count as passed on when they are.
    pub(crate) fn poll_early(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<()> {
        self.is_unasked = false;
        let early = self.early.get_or_insert_default();
        while early.bytes < bytes {
            let Some(incoming) = self.incoming.as_mut().filter(|incoming| !incoming.is_end_stream()) else { break };
            match ready!(incoming.poll_frame(cx)) {
                Some(frame) => {
                    early.bytes += frame.as_ref().map_or(0, |frame| frame.data_ref().map_or(0, Bytes::len));
                    let broke = frame.is_err();
                    early.frames.push_back(frame);
                    if broke {
                        break;
                    }
                }
                None => break,
            }
        }
        Poll::Ready(())
    }

    /// What was read ahead, up to so many bytes.
    pub(crate) fn early(&self, bytes: usize) -> Box<[u8]> {
        let frames = self.early.iter().flat_map(|early| &early.frames);
        let data = frames.filter_map(|frame| frame.as_ref().ok()?.data_ref());
        let mut prefix = Vec::new();
        for piece in data {
            prefix.extend_from_slice(&piece[..piece.len().min(bytes - prefix.len())]);
        }
        prefix.into()
    }

    fn copy(&mut self, frame: &Frame<Bytes>) {
        let Some(mut copying) = self.copying.take() else { return };
        if !frame.data_ref().is_none_or(|data| copying.take(data)) {
            return;
        }
        // Nobody asks for more behind the last frame.
        if frame.is_trailers() || self.is_end_stream() {
            copying.send();
        } else {
            self.copying = Some(copying);
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.early.as_ref().is_none_or(|early| early.frames.is_empty())
            && self.incoming.as_ref().is_none_or(ClientBody::is_end_stream)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let rest = self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), ClientBody::size_hint);
        let Some(early) = &self.early else { return rest };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(early.bytes as u64));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(early.bytes as u64));
        }
        hint
    }
}
