//! A closed load that records nothing.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use flowbench::client::{Call, Request};

/// Sends the same body again and again, with this many requests in flight.
pub(crate) async fn load(
    session: &impl Call,
    request: &Request,
    requests: u64,
    in_flight: usize,
) -> Result<(), Box<dyn Error>> {
    let left = Arc::new(AtomicI64::new(i64::try_from(requests)?));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (session, request, left) = (session.clone(), request.clone(), left.clone());
        clients.spawn(async move {
            while left.fetch_sub(1, Ordering::Relaxed) > 0 {
                let reply = session.call(request.clone()).await?;
                if let Some(error) = reply.failure() {
                    return Err(Box::<dyn Error + Send + Sync>::from(error));
                }
            }
            Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended?.map_err(|error| error as Box<dyn Error>)?;
    }
    Ok(())
}
