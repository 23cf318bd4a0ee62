//! The body of a response that is under way, with the connection that it comes over.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::breach::Breach;
use super::endpoint::{BrokenOff, EndpointConnection};
use super::splice::Splice;
use super::upstream::Turn;

/// Dropped before its end, it closes the endpoint's connection: nobody would read the rest.
pub(super) struct Exchange {
    /// Until the end. Without a turn, the connection is of no further use.
    under_way: Option<(Box<EndpointConnection>, Option<Turn>)>,
}

impl Exchange {
    /// A response's body; the connection goes to the pool after it, if there is a turn that ends with it.
    pub(super) fn new(connection: Box<EndpointConnection>, turn: Option<Turn>) -> Self {
        let mut exchange = Self { under_way: Some((connection, turn)) };
        exchange.release_at_end();
        exchange
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        splice: Option<&Splice>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Some((connection, _)) = &mut self.under_way else { return Poll::Ready(None) };
        let frame = connection.poll_frame(cx, splice);
        match &frame {
            Poll::Ready(Some(Err(_))) => self.under_way = None,
            // With a known length, the end is seen with the last byte.
            Poll::Ready(_) => self.release_at_end(),
            Poll::Pending => {}
        }
        frame
    }

    /// The endpoint broke the rules so.
    pub(super) fn tell(&self, breach: Breach) {
        if let Some((connection, _)) = &self.under_way {
            connection.breaches.tell(breach);
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.under_way.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let known = |(connection, _): &(Box<EndpointConnection>, _)| connection.size_hint();
        self.under_way.as_ref().map_or_else(|| SizeHint::with_exact(0), known)
    }

    fn release_at_end(&mut self) {
        let is_over = |(connection, _): &mut (Box<EndpointConnection>, _)| connection.is_at_end();
        if let Some((mut connection, turn)) = self.under_way.take_if(is_over)
            && connection.settle()
            && let Some(turn) = turn
        {
            turn.finish(connection);
        }
    }
}
