//! Reads a request's body: not too long, not too slow.

use super::error::Refusal;
use axum::body::Body;
use futures_util::StreamExt;
use std::time::Duration;

/// Longest body.
pub(crate) const LIMIT: usize = 2 << 20;
/// Of a body that is too long this much is read and thrown away, so that the client has written it
/// out and reads our answer instead of a reset connection.
const DISCARD: usize = 16 << 20;
/// Longest time for a body to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// The whole body.
pub(crate) async fn read(body: Body) -> Result<Vec<u8>, Refusal> {
    tokio::time::timeout(PATIENCE, read_all(body)).await.unwrap_or(Err(Refusal::Incomplete))
}

async fn read_all(body: Body) -> Result<Vec<u8>, Refusal> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut seen = 0usize;
    while let Some(part) = stream.next().await {
        let part = part.map_err(|_| Refusal::Incomplete)?;
        seen = seen.saturating_add(part.len());
        if seen > LIMIT {
            bytes = Vec::new();
            if seen > DISCARD {
                break;
            }
            continue;
        }
        bytes.extend_from_slice(&part);
    }
    if seen > LIMIT { Err(Refusal::TooLarge { limit: LIMIT }) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use std::convert::Infallible;

    #[tokio::test]
    async fn a_body_of_the_limit_is_taken_and_one_byte_more_is_not() {
        assert_eq!(read(Body::from(vec![b' '; LIMIT])).await.unwrap().len(), LIMIT);
        assert!(matches!(read(Body::from(vec![b' '; LIMIT + 1])).await, Err(Refusal::TooLarge { .. })));
    }

    #[tokio::test]
    async fn an_endless_body_is_not_read_to_the_end() {
        let endless = stream::repeat_with(|| Ok::<_, Infallible>(vec![b' '; 1 << 16]));
        assert!(matches!(read(Body::from_stream(endless)).await, Err(Refusal::TooLarge { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        let silent = stream::pending::<Result<Vec<u8>, Infallible>>();
        assert!(matches!(read(Body::from_stream(silent)).await, Err(Refusal::Incomplete)));
    }
}
