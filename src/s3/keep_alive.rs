//! Answers that take long: the status and white space at once, the document when there is one, as S3 does for Complete
//! and Copy. Clients and proxies between would take the silence for a dead server.

use super::error::S3Error;
use super::list_params::encode_key;
use super::request::{RequestId, S3Request};
use super::response::{BodyFailure, ChunkSource, ResponseBody, S3Response, error_document};
use super::xml::writer::DECLARATION;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::timeout;

/// How long an answer may take before its status is sent ahead of it, and how often white space is sent then.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a long operation ends in: 200, headers and a document. The headers get lost where the status was sent ahead.
pub(super) struct Finished {
    pub(super) document: Bytes,
    pub(super) headers: HeaderMap,
}

/// What an error that comes too late for a status says of its request.
pub(super) struct Subject {
    ids: RequestId,
    resource: String,
}

impl Subject {
    pub(super) fn of(request: &S3Request) -> Result<Self, S3Error> {
        let resource = format!("/{}/{}", request.bucket()?, encode_key(request.key()?.as_str(), true));
        Ok(Self { ids: request.context.request_id.clone(), resource })
    }
}

type Work = Pin<Box<dyn Future<Output = Result<Finished, S3Error>> + Send>>;

/// Answers as soon as the work ends, or begins to answer when it takes long. The work is given up with the answer.
pub(super) async fn keep_alive(
    subject: Subject,
    work: impl Future<Output = Result<Finished, S3Error>> + Send + 'static,
) -> Result<S3Response, S3Error> {
    let mut work: Work = Box::pin(work);
    if let Ok(finished) = timeout(PATIENCE, &mut work).await {
        let Finished { document, headers } = finished?;
        let mut response = S3Response::xml(document);
        response.headers.extend(headers);
        return Ok(response);
    }
    let body = ResponseBody::pulled(None, Late { state: State::Begin, work, subject });
    let kind = HeaderValue::from_static("application/xml");
    Ok(S3Response::empty(http::StatusCode::OK).header(CONTENT_TYPE, kind).body(body))
}

enum State {
    Begin,
    Waiting,
    Done,
}

struct Late {
    state: State,
    work: Work,
    subject: Subject,
}

impl ChunkSource for Late {
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, BodyFailure> {
        match self.state {
            // White space may stand behind the declaration, but never before it.
            State::Begin => {
                self.state = State::Waiting;
                Ok(Some(Bytes::from_static(DECLARATION.as_bytes())))
            }
            State::Waiting => {
                let Ok(finished) = timeout(PATIENCE, &mut self.work).await else {
                    return Ok(Some(Bytes::from_static(b" ")));
                };
                self.state = State::Done;
                let document = match finished {
                    Ok(finished) => finished.document,
                    Err(error) => {
                        tracing::debug!(code = error.code.as_str(), message = %error.message, "refused late");
                        Bytes::from(error_document(&error, &self.subject.resource, &self.subject.ids))
                    }
                };
                let declared = document.starts_with(DECLARATION.as_bytes());
                Ok(Some(if declared { document.slice(DECLARATION.len()..) } else { document }))
            }
            State::Done => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::error::S3ErrorCode;
    use crate::s3::testing::CountingEntropy;
    use crate::s3::xml::XmlWriter;
    use http_body_util::BodyExt as _;

    fn subject() -> Subject {
        Subject { ids: RequestId::draw(&CountingEntropy::default()), resource: "/b/k".to_owned() }
    }

    fn finished() -> Finished {
        let headers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("e"))]);
        Finished { document: XmlWriter::plain_document("Done", |_| {}), headers }
    }

    async fn after(seconds: u64, result: Result<Finished, S3Error>) -> Result<(HeaderMap, String), S3Error> {
        let work = async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            result
        };
        let answer = keep_alive(subject(), work).await?;
        let body = answer.body.collect().await.unwrap().to_bytes();
        Ok((answer.headers, String::from_utf8(body.to_vec()).unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_soon_is_answered_as_if_nothing_was_waited_for() {
        let (headers, body) = after(4, Ok(finished())).await.unwrap();
        assert_eq!(body, format!("{DECLARATION}<Done></Done>"));
        assert_eq!(headers.get("etag"), Some(&HeaderValue::from_static("e")));
        let refused = after(4, Err(S3ErrorCode::NoSuchKey.into())).await.unwrap_err();
        assert_eq!(refused.code, S3ErrorCode::NoSuchKey);
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_answered_with_white_space_between_the_declaration_and_the_result() {
        let (headers, body) = after(17, Ok(finished())).await.unwrap();
        assert_eq!(body, format!("{DECLARATION}  <Done></Done>"));
        assert_eq!(headers.get("content-type"), Some(&HeaderValue::from_static("application/xml")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_comes_late_is_the_document() {
        let (_, body) = after(7, Err(S3ErrorCode::NoSuchUpload.into())).await.unwrap();
        let expected = format!("{DECLARATION}<Error><Code>NoSuchUpload</Code>");
        assert!(body.starts_with(&expected), "{body}");
        assert!(body.contains("<Resource>/b/k</Resource><RequestId>"), "{body}");
    }
}
