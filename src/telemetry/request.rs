//! What is known of a request while it is answered: how it is called, and which order it is about. For logs, for
//! traces, and for customers who ask what went wrong.

use std::sync::{Arc, OnceLock};

use crate::domain::OrderId;

tokio::task_local! {
    static PRESENT: Arc<Request>;
}

/// One request.
#[derive(Debug)]
pub struct Request {
    id: Box<str>,
    order: OnceLock<OrderId>,
    begun: OnceLock<OrderId>,
}

impl Request {
    /// A request of this name, which goes into logs as it is.
    pub fn new(id: impl Into<Box<str>>) -> Arc<Self> {
        Arc::new(Self { id: id.into(), order: OnceLock::new(), begun: OnceLock::new() })
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The order that it is about, or the one that it has tried to bring about.
    pub fn order(&self) -> Option<OrderId> {
        self.order.get().or_else(|| self.begun.get()).copied()
    }

    /// Whether it has brought this order about itself, and does not only ask about it.
    pub fn has_begun(&self, order: OrderId) -> bool {
        self.begun.get() == Some(&order)
    }

    /// Answers it.
    pub async fn answer<T>(self: Arc<Self>, answer: impl Future<Output = T>) -> T {
        PRESENT.scope(self, answer).await
    }
}

/// What somebody wants to know of the request that is being answered; `None` outside of one.
pub fn present<T>(what: impl FnOnce(&Request) -> T) -> Option<T> {
    PRESENT.try_with(|request| what(request)).ok()
}

/// The request that is being answered, if any, is about this order.
pub fn is_about(order: OrderId) {
    present(|request| request.order.set(order).is_ok());
}

/// The request that is being answered, if any, has begun to bring this order about.
pub fn has_begun(order: OrderId) {
    present(|request| request.begun.set(order).is_ok());
}
