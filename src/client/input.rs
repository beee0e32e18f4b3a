//! The inputs of a post: one Document, many, a lazy iterator, an async stream or nothing.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream, Stream, StreamExt};

use super::BoxError;
use crate::wire::Document;

/// How many Documents go into one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestSize {
    /// This many; the last request of a post may have fewer. 0 is rejected when the post starts.
    Documents(usize),
    /// All Documents of the post in one request, so all are in memory at once. A negative number
    /// means the same in Jina's client.
    All,
}

/// The Documents of a post, made by [`IntoInputs`]. None by default: one request without data.
#[derive(Default)]
pub struct Inputs<'a>(Source<'a>);

#[derive(Default)]
enum Source<'a> {
    /// One request with parameters only.
    #[default]
    Nothing,
    /// Known to hold no Document: one request with an empty list, as for an empty list in Jina.
    EmptyList,
    /// Taken one by one, whenever there is room for a request.
    Documents(BoxStream<'a, Result<Document, BoxError>>),
}

/// An input for [`super::Post::inputs`]: a [`Document`], any iterator of Documents (a `Vec`, an
/// array, a lazy iterator) or any `Stream` of Documents.
///
/// If producing a Document can fail, the items are `Result`s: the Documents before the first error
/// are sent, then the post ends with [`super::PostError::Input`].
///
/// An iterator that reports beforehand that it is empty (`size_hint`) counts as an empty list and
/// makes one request without Documents; one that turns out to be empty makes no request. Jina's
/// client makes the same distinction between a list and a generator.
///
/// `Kind` only keeps the three implementations apart for the compiler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an input of a post",
    label = "expected a `Document`, or an iterator or `Stream` of `Document`, `&Document` or \
             `Result<Document, _>` that is `Send`"
)]
pub trait IntoInputs<'a, Kind> {
    /// Converts it without consuming anything yet.
    fn into_inputs(self) -> Inputs<'a>;
}

/// One item of an iterator or stream of inputs.
pub trait IntoInput {
    /// The Document, or why there is none.
    ///
    /// # Errors
    /// The error of the Document's producer.
    fn into_input(self) -> Result<Document, BoxError>;
}

/// `Kind` of a single Document.
#[derive(Debug)]
pub enum One {}
/// `Kind` of iterators.
#[derive(Debug)]
pub enum Many {}
/// `Kind` of streams.
#[derive(Debug)]
pub enum Streamed {}

impl<'a> IntoInputs<'a, One> for Document {
    fn into_inputs(self) -> Inputs<'a> {
        Inputs(Source::Documents(stream::iter([Ok(self)]).boxed()))
    }
}

impl<'a, I> IntoInputs<'a, Many> for I
where
    I: IntoIterator<IntoIter: Send + 'a, Item: IntoInput + 'a>,
{
    fn into_inputs(self) -> Inputs<'a> {
        let documents = self.into_iter();
        if documents.size_hint() == (0, Some(0)) {
            return Inputs(Source::EmptyList);
        }
        Inputs(Source::Documents(stream::iter(documents.map(IntoInput::into_input)).boxed()))
    }
}

impl<'a, S> IntoInputs<'a, Streamed> for S
where
    S: Stream<Item: IntoInput + 'a> + Send + 'a,
{
    fn into_inputs(self) -> Inputs<'a> {
        Inputs(Source::Documents(self.map(IntoInput::into_input).boxed()))
    }
}

impl IntoInput for Document {
    fn into_input(self) -> Result<Document, BoxError> {
        Ok(self)
    }
}

impl IntoInput for &Document {
    fn into_input(self) -> Result<Document, BoxError> {
        Ok(self.clone())
    }
}

impl<E: Into<BoxError>> IntoInput for Result<Document, E> {
    fn into_input(self) -> Result<Document, BoxError> {
        self.map_err(Into::into)
    }
}

impl From<usize> for RequestSize {
    fn from(documents: usize) -> RequestSize {
        RequestSize::Documents(documents)
    }
}

impl fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::Nothing => "Inputs::Nothing",
            Source::EmptyList => "Inputs::EmptyList",
            Source::Documents(_) => "Inputs::Documents(..)",
        })
    }
}

/// Inputs, split into batches of Documents, one per request.
pub(super) struct Batches<'a> {
    source: Source<'a>,
    size: usize,
    /// Documents of the request being filled.
    next: Vec<Document>,
}

/// The item of [`Batches`].
#[derive(Debug)]
pub(super) enum Batch {
    /// The data of one request; `None` for a request without data.
    Data(Option<Vec<Document>>),
    /// The producer of the inputs failed. The Documents before the error were returned as a batch.
    Failed(BoxError),
}

impl<'a> Batches<'a> {
    /// `size` is at least 1.
    pub(super) fn new(inputs: Inputs<'a>, size: usize) -> Batches<'a> {
        Batches { source: inputs.0, size, next: Vec::new() }
    }

    /// The next batch; `None` after the last.
    ///
    /// A source that is always ready is left after `LOOK` Documents, with the task woken, so that
    /// replies are handed out and connections on the same thread get their turn.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        const LOOK: usize = 64;
        let documents = match &mut self.source {
            Source::Documents(documents) => documents,
            Source::EmptyList => {
                self.source = Source::Documents(ended());
                return Poll::Ready(Some(Batch::Data(Some(Vec::new()))));
            }
            Source::Nothing => {
                self.source = Source::Documents(ended());
                return Poll::Ready(Some(Batch::Data(None)));
            }
        };
        for _ in 0..LOOK {
            match Pin::new(&mut *documents).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(document))) => {
                    self.next.push(document);
                    if self.next.len() == self.size {
                        return Poll::Ready(Some(self.take()));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    // The Documents before the error go first, then the error.
                    if self.next.is_empty() {
                        self.source = Source::Documents(ended());
                        return Poll::Ready(Some(Batch::Failed(error)));
                    }
                    self.source = Source::Documents(stream::iter([Err(error)]).boxed());
                    return Poll::Ready(Some(self.take()));
                }
                Poll::Ready(None) => {
                    // A stream that has ended must not be polled again.
                    self.source = Source::Documents(ended());
                    let batch = (!self.next.is_empty()).then(|| self.take());
                    return Poll::Ready(batch);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take(&mut self) -> Batch {
        // The next batch is probably as large as this one.
        let room = if self.size == usize::MAX { 0 } else { self.next.len() };
        Batch::Data(Some(mem::replace(&mut self.next, Vec::with_capacity(room))))
    }
}

fn ended<'a>() -> BoxStream<'a, Result<Document, BoxError>> {
    stream::empty().boxed()
}
