//! Retries, according to `Retry`.

use std::time::Duration;

use tokio::time::sleep;

use crate::client::{CallError, Failure, GatewayCode, Reply, Request, Retry};

/// Calls until there is a reply, a failure that another attempt would not fix, or no attempt left.
/// The timing is that of the last attempt, with the number of attempts.
///
/// # Errors
/// The last attempt's failure.
pub(super) async fn with_retries<F>(
    retry: &Retry,
    request: Request,
    call: impl Fn(Request) -> F,
) -> Result<Reply, Failure>
where
    F: Future<Output = Result<Reply, Failure>>,
{
    let mut attempt = 1;
    loop {
        let mut failure = match call(request.clone()).await {
            Ok(mut reply) => {
                reply.timing.attempts = attempt;
                return Ok(reply);
            }
            Err(failure) => failure,
        };
        failure.timing.attempts = attempt;
        if attempt >= retry.max_attempts || !may_heal(&failure) {
            return Err(failure);
        }
        sleep(wait(retry, attempt, &failure.error)).await;
        attempt += 1;
    }
}

/// Opens until that succeeds, fails for good, or no attempt is left. The Flow has only been asked
/// what it is so far, so any transient failure is worth another attempt.
///
/// # Errors
/// The error of the last attempt.
pub(super) async fn until_open<T, F>(retry: &Retry, open: impl Fn() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut attempt = 1;
    loop {
        let error = match open().await {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let passing = match &error {
            CallError::Connect { .. }
            | CallError::OwnLimit { .. }
            | CallError::Lost { .. }
            | CallError::Timeout(_) => true,
            error => cannot_serve_now(error),
        };
        if attempt >= retry.max_attempts || !passing {
            return Err(error);
        }
        sleep(wait(retry, attempt, &error)).await;
        attempt += 1;
    }
}

/// Whether another attempt is worthwhile, and safe: the request did not reach the Flow, or its
/// gateway says that it could not serve it now.
///
/// This is what Jina's clients of 3.12 do (over gRPC for the three codes, over HTTP for requests
/// that could not be sent), made the same for all protocols.
pub(super) fn may_heal(failure: &Failure) -> bool {
    match &failure.error {
        CallError::Connect { .. } | CallError::NotTaken { .. } => true,
        CallError::Lost { .. } => failure.timing.written.is_none(),
        error => cannot_serve_now(error),
    }
}

/// Whether the gateway may be able to serve the request later.
fn cannot_serve_now(error: &CallError) -> bool {
    match error {
        CallError::Gateway { code, .. } => matches!(
            code,
            GatewayCode::Grpc("UNAVAILABLE" | "DEADLINE_EXCEEDED" | "INTERNAL")
                | GatewayCode::Http(429 | 502..=504)
                | GatewayCode::Close(1011)
        ),
        _ => false,
    }
}

/// The wait before the next attempt, at least as long as the gateway asks for.
pub(super) fn wait(retry: &Retry, attempt: u32, error: &CallError) -> Duration {
    /// The longest wait that a gateway may ask for.
    const ASKED_MAX: Duration = Duration::from_secs(60);
    let asked = match error {
        CallError::Gateway { retry_after: Some(asked), .. } => (*asked).min(ASKED_MAX),
        _ => Duration::ZERO,
    };
    backoff(retry, attempt).max(asked)
}

/// The wait before the next attempt, see [`Retry`].
fn backoff(retry: &Retry, attempt: u32) -> Duration {
    if attempt == 1 {
        return retry.initial_backoff;
    }
    let bound =
        retry.backoff_multiplier.powf(f64::from(attempt - 1)) * retry.initial_backoff.as_secs_f64();
    // If the bound is not a valid duration (a multiplier below zero, an overflow), the longest wait
    // applies.
    let bound =
        Duration::try_from_secs_f64(bound).unwrap_or(retry.max_backoff).min(retry.max_backoff);
    bound.mul_f64(rand::random())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use tokio::time::Instant;

    use GatewayCode::{Close, Grpc, Http};

    use super::*;
    use crate::client::{Body, Call, Timing};
    use crate::wire::{Head, Protocol, Target};

    /// Fails with these errors, then replies; records when it was called.
    #[derive(Clone)]
    struct Scripted {
        errors: Arc<Mutex<VecDeque<(CallError, bool)>>>,
        calls: Arc<Mutex<Vec<Instant>>>,
    }

    impl Call for Scripted {
        async fn call(&self, _: Request) -> Result<Reply, Failure> {
            let now = Instant::now();
            self.calls.lock().unwrap().push(now);
            let timing = Timing::unsent(now);
            match self.errors.lock().unwrap().pop_front() {
                None => Ok(Reply { head: Head::default(), body: Body::Empty, timing }),
                Some((error, sent)) => {
                    Err(Failure::new(error, Timing { written: sent.then_some(now), ..timing }))
                }
            }
        }
    }

    fn gateway(code: GatewayCode) -> CallError {
        CallError::Gateway { code, message: "busy".into(), retry_after: None }
    }

    fn target() -> Target {
        Target { protocol: Protocol::Grpc, host: "h".into(), port: 1, tls: false, user_info: None }
    }

    /// Calls with retries; returns the outcome and the seconds between the calls.
    async fn run(
        retry: Retry,
        errors: Vec<(CallError, bool)>,
    ) -> (Result<Reply, Failure>, Vec<f64>) {
        let client =
            Scripted { errors: Arc::new(Mutex::new(errors.into())), calls: Arc::default() };
        let request = Request::Mutate { body: Bytes::new() };
        let outcome = with_retries(&retry, request, |request| client.call(request)).await;
        let calls = client.calls.lock().unwrap();
        let waits = calls.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        (outcome, waits)
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_up_to_the_longest() {
        let retry = Retry { max_attempts: 6, ..Retry::default() };
        let (outcome, waits) = run(retry, vec![(gateway(Grpc("UNAVAILABLE")), true); 5]).await;
        assert_eq!(outcome.unwrap().timing.attempts, 6);
        assert_eq!(waits[0], 0.5);
        // min(0.5 s · 1.5^(n-1), 2 s), and a timer resolution of one millisecond.
        for (wait, bound) in waits[1..].iter().zip([0.75, 1.125, 1.6875, 2.0]) {
            assert!(*wait <= bound + 0.002, "{waits:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_failure_stands_when_attempts_run_out() {
        let retry = Retry { max_attempts: 3, ..Retry::default() };
        let errors = ["UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "UNAVAILABLE"];
        let errors = errors.map(|code| (gateway(Grpc(code)), true)).to_vec();
        let (outcome, waits) = run(retry, errors).await;
        let failure = outcome.unwrap_err();
        assert_eq!((failure.timing.attempts, waits.len()), (3, 2));
        assert_eq!(failure.to_string(), "gateway answered DEADLINE_EXCEEDED: busy");
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_is_given_the_time_that_it_asks_for() {
        let asks = |seconds| CallError::Gateway {
            code: Http(429),
            message: "busy".into(),
            retry_after: Some(Duration::from_secs(seconds)),
        };
        let retry = Retry { max_attempts: 4, ..Retry::default() };
        let (outcome, waits) =
            run(retry, vec![(asks(3), true), (asks(0), true), (asks(9999), true)]).await;
        assert!(outcome.is_ok());
        let whole: Vec<u64> = waits.iter().map(|wait| *wait as u64).collect();
        assert_eq!(whole, [3, 0, 60], "{waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_attempt_is_no_retry() {
        let (outcome, waits) =
            run(Retry::default(), vec![(gateway(Grpc("UNAVAILABLE")), true)]).await;
        assert_eq!((outcome.unwrap_err().timing.attempts, waits.len()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_heal_and_was_not_served_is_tried_again() {
        let lost = || CallError::Lost { target: target(), reason: "gone".into() };
        let refused = || CallError::Connect { target: target(), reason: "refused".into() };
        let tls = || CallError::Tls { target: target(), reason: "no".into() };
        for (error, sent, again) in [
            (refused(), false, true),
            (lost(), false, true),
            (lost(), true, false), // it may have been served
            (gateway(Http(429)), true, true),
            (gateway(Http(502)), true, true),
            (gateway(Http(503)), true, true),
            (gateway(Http(504)), true, true),
            (gateway(Http(500)), true, false),
            (gateway(Close(1011)), true, true),
            (gateway(Close(1006)), true, false),
            (gateway(Grpc("UNKNOWN")), true, false),
            (gateway(Grpc("INVALID_ARGUMENT")), true, false),
            (tls(), false, false),
            (CallError::Timeout(Duration::from_secs(1)), true, false),
            (CallError::TooLarge { limit: 1 }, true, false),
        ] {
            let shown = error.to_string();
            let retry = Retry { max_attempts: 2, ..Retry::default() };
            let (outcome, _) = run(retry, vec![(error, sent)]).await;
            assert_eq!(outcome.is_ok(), again, "{shown}, sent: {sent}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn opening_is_tried_again_where_nobody_answered() {
        let lost = CallError::Lost { target: target(), reason: "gone".into() };
        let refused = CallError::Connect { target: target(), reason: "refused".into() };
        let tls = CallError::Tls { target: target(), reason: "no".into() };
        let late = CallError::Timeout(Duration::from_secs(1));
        for (errors, attempts) in [
            (vec![refused.clone(), lost, late], 4),
            (vec![gateway(Grpc("UNAVAILABLE")), tls, refused.clone()], 2),
            (vec![refused; 9], 5),
        ] {
            let retry = Retry { max_attempts: 5, ..Retry::default() };
            let left = Mutex::new(VecDeque::from(errors));
            let made = Mutex::new(0);
            let open = || async {
                *made.lock().unwrap() += 1;
                left.lock().unwrap().pop_front().map_or(Ok(()), Err)
            };
            let opened = until_open(&retry, open).await;
            assert_eq!(opened.is_ok(), left.lock().unwrap().is_empty());
            assert_eq!(*made.lock().unwrap(), attempts);
        }
    }

    #[test]
    fn any_numbers_give_a_wait_within_bounds() {
        for multiplier in [-1.0, 0.0, 1e300, f64::INFINITY, f64::NAN] {
            let retry =
                Retry { max_attempts: 9, backoff_multiplier: multiplier, ..Retry::default() };
            for attempt in 1..9 {
                assert!(backoff(&retry, attempt) <= retry.max_backoff);
            }
        }
    }
}
