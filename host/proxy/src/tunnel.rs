//! What comes after a switch of protocols (RFC 9110, section 7.8), such as to WebSocket: bytes, both ways, until both
//! sides have ended.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::Poll,
};

use bytes::Bytes;
use sluicegate_core::Outcome;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional};

use crate::{
    attempt::Attempt,
    endpoint_stream::{EndpointStream, Watched},
    failure::Failure,
    record::Record,
    watch::Watch,
};

/// The endpoint's side, until the client's is ready for it.
pub(crate) struct Tunnel {
    pub(crate) endpoint: EndpointStream,
    /// What the endpoint has sent already.
    pub(crate) early: Bytes,
    /// Until the tunnel ends, the request that asked for it is under way.
    pub(crate) attempt: Attempt,
    pub(crate) record: Record,
}

impl Tunnel {
    /// Carries bytes until both sides have ended, one of them breaks, nothing moves for too long, or the worker can't
    /// wait any longer. `early`: what the client has sent already.
    pub(crate) async fn run(self, mut client: impl AsyncRead + AsyncWrite + Unpin, early: &[u8]) {
        let Self { endpoint, early: answer, attempt, mut record } = self;
        let end = {
            let mut endpoint = Watched::new(endpoint);
            let (connection, has_moved) = (&record.client, endpoint.moved.clone());
            let (mut watch, mut moved) = (Watch::default(), 0);
            let mut carry = pin!(carry(&mut client, &mut endpoint, early, &answer));
            poll_fn(|cx| {
                if connection.is_cut(cx) {
                    return Poll::Ready(End::Cut);
                }
                if let Poll::Ready(carried) = carry.as_mut().poll(cx) {
                    return Poll::Ready(End::Own(carried));
                }
                moved += u64::from(has_moved.take());
                watch.poll_idle(cx, &record, moved).map(End::Idle)
            })
            .await
        };
        let outcome = match end {
            End::Own(Ok((_, sent))) => {
                record.bytes += sent;
                Outcome::Answered
            }
            End::Own(Err(error)) => {
                tracing::debug!(client = %record.client.address, %error, "a tunnel broke");
                record.broke_off();
                Outcome::Answered
            }
            End::Idle(failure) => {
                record.cut_off(&failure);
                Outcome::Answered
            }
            End::Cut => Outcome::Cancelled,
        };
        attempt.finish(outcome);
    }
}

/// How a tunnel ends.
enum End {
    /// By itself: how many bytes went each way.
    Own(io::Result<(u64, u64)>),
    /// Nothing moved.
    Idle(Failure),
    /// The worker ends the connection.
    Cut,
}

async fn carry(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    endpoint: &mut Watched,
    early: &[u8],
    answer: &[u8],
) -> io::Result<(u64, u64)> {
    endpoint.write_all(early).await?;
    client.write_all(answer).await?;
    copy_bidirectional(client, endpoint).await
}
