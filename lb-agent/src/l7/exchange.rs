//! The body of a response that is under way, with the connection that it comes over.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::endpoint::EndpointConnection;
use super::upstream::Turn;

/// Dropped before its end, it closes the endpoint's connection: nobody would read the rest.
pub(super) struct Exchange {
    incoming: Incoming,
    under_way: Option<(Box<EndpointConnection>, Turn)>,
}

impl Exchange {
    /// A response's body; the connection goes to the pool after it.
    pub(super) fn new(incoming: Incoming, connection: Box<EndpointConnection>, turn: Turn) -> Self {
        let mut exchange = Self { incoming, under_way: Some((connection, turn)) };
        exchange.release_at_end();
        exchange
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        // Frames come in by driving the connection, so they need not wake anyone.
        let unwoken = &mut Context::from_waker(Waker::noop());
        let mut frame = Pin::new(&mut self.incoming).poll_frame(unwoken);
        if let (Poll::Pending, Some((connection, _))) = (&frame, &mut self.under_way) {
            connection.drive(cx);
            frame = Pin::new(&mut self.incoming).poll_frame(unwoken);
        }
        match &frame {
            Poll::Ready(Some(Ok(_))) => self.release_at_end(),
            Poll::Ready(None) => self.release(),
            Poll::Ready(Some(Err(error))) => {
                self.under_way.take().iter().for_each(|(connection, _)| connection.broke(error));
            }
            Poll::Pending => {}
        }
        frame
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    /// With a known length, the end is seen with the last byte.
    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some((connection, turn)) = self.under_way.take() {
            turn.finish(connection);
        }
    }
}
