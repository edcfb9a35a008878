//! Reserve for many customers with one request.
//!
//! Each entry is judged as the single call would judge it, and none knows of the others. The work is done in portions
//! between which the worker's other requests have their turn: first the whole body is read, so that a broken one is refused
//! before anything was done, then entries are decided and shown. What one portion decided is shown once it is durable,
//! while later ones are being decided; whoever takes the answer too slowly holds them back. A caller that goes away ends
//! the work between two portions: what was decided until then stays.

use std::{io::Write, ops::Range, rc::Rc};

use bytes::Bytes;
use hyper::{Request, Response, StatusCode, body::Incoming};
use tokio::sync::{mpsc, oneshot};

use super::{Answered, IDEMPOTENCY_KEY, bare_key, json_bytes, key_form, reservations};
use crate::{
    engine::{Answer, Epoch, Made},
    http::{
        Body,
        body::{self, Stream},
        entries::{Content, Entry, GrantedBody, Portion, Reader},
        problem,
        worker::Worker,
    },
    sale::{
        catalogue::{Catalogue, Sale},
        outcome::Refusal,
        settings::Invalid,
        time::Timestamp,
    },
};

/// What is read, and what is shown, at a time: well below a millisecond of work, whatever the entries are.
const PORTION: Portion = Portion { entries: 128, bytes: 32 << 10 };

/// What is decided at a time, which is most of the work. A request that comes in meanwhile waits for its turn twice:
/// until it is read, and until it is answered.
const TURN: Portion = Portion { entries: 16, bytes: 4 << 10 };

/// Portions that may be decided and not yet durable: what comes in during one sync of the disk, and some more.
const PORTIONS_AHEAD: usize = 8;

/// Pieces of the answer that are made before the caller takes them.
const PIECES_AHEAD: usize = 2;

/// About what an entry takes in the answer.
const RESULT_BYTES: usize = 384;

pub async fn reserve(worker: &Rc<Worker>, sale: &str, request: Request<Incoming>) -> Answered {
    if request.headers().contains_key(&IDEMPOTENCY_KEY) {
        let detail = "a batch has no Idempotency-Key: give each entry its own, as idempotency_key";
        return Err(problem::invalid(&[Invalid::new("", detail)]));
    }
    let limits = worker.limits();
    let bytes = body::read(request, limits.batch_body_bytes_max, limits.body_read_time, true).await?;
    let (begin, begun) = oneshot::channel();
    tokio::task::spawn_local(answer(worker.clone(), sale.to_owned(), bytes, begin));
    begun.await.expect("a batch that somebody waits for begins its answer")
}

/// Reads the body, begins the answer, and goes on with it. Entries borrow from the body, so all of this is one task.
async fn answer(worker: Rc<Worker>, sale: String, bytes: Bytes, begin: oneshot::Sender<Answered>) {
    let entries = match read(&worker, &bytes, &begin).await {
        Ok(entries) => entries,
        Err(wrong) => return drop(begin.send(Err(problem::invalid(&[wrong])))),
    };
    if let Err(refusal) = worker.engine().catalogue().sale(&sale) {
        return drop(begin.send(Err(problem::refuse(&refusal, &worker.engine().catalogue()))));
    }
    let (pieces, to_send) = mpsc::channel(PIECES_AHEAD);
    // Dropped when this is through.
    let (_through, ended) = oneshot::channel();
    let body = Body::Streamed(Stream::new(to_send, ended));
    if begin.send(Ok(json_bytes(StatusCode::OK, body))).is_err() {
        return;
    }
    let (decided, to_show) = mpsc::channel(PORTIONS_AHEAD);
    let batch = Batch { worker: &worker, sale: &sale, entries };
    tokio::join!(batch.decide(decided), batch.show(to_show, pieces));
}

async fn read<'a>(
    worker: &Worker,
    bytes: &'a [u8],
    begin: &oneshot::Sender<Answered>,
) -> Result<Vec<Entry<'a>>, Invalid> {
    let limits = worker.limits();
    let mut reader = Reader::new(bytes, limits.batch_entries_max, limits.body_bytes_max);
    while !worker.in_turn(|| reader.read(PORTION)).await? {
        if begin.is_closed() {
            return Err(Invalid::new("", "the caller has gone"));
        }
    }
    Ok(reader.into_entries())
}

struct Batch<'a> {
    worker: &'a Worker,
    sale: &'a str,
    entries: Vec<Entry<'a>>,
}

/// A portion whose entries are being decided.
struct Judged {
    first: usize,
    bytes: usize,
    outcomes: Vec<Outcome>,
    durable_at: Epoch,
}

impl Judged {
    fn is_full(&self) -> bool {
        self.outcomes.len() >= PORTION.entries || self.bytes >= PORTION.bytes
    }
}

/// A portion of the answer.
struct Decided {
    places: Range<usize>,
    text: Vec<u8>,
    durable_at: Epoch,
}

/// What became of an entry: the engine's word, or a refusal before it was asked.
type Outcome = Result<Result<Made, Refusal>, Response<Body>>;

impl Batch<'_> {
    async fn decide(&self, decided: mpsc::Sender<Decided>) {
        let mut next = 0;
        // Closed when the caller has gone.
        while next < self.entries.len() && !decided.is_closed() {
            let mut portion =
                Judged { first: next, bytes: 0, outcomes: Vec::with_capacity(PORTION.entries), durable_at: 0 };
            while next < self.entries.len() && !portion.is_full() {
                self.worker.in_turn(|| self.judge_some(&mut portion)).await;
                next = portion.first + portion.outcomes.len();
            }
            if decided.send(self.worker.in_turn(|| self.write_judged(portion)).await).await.is_err() {
                return;
            }
        }
    }

    async fn show(&self, mut decided: mpsc::Receiver<Decided>, pieces: mpsc::Sender<Bytes>) {
        while let Some(portion) = decided.recv().await {
            let text = match self.worker.durable(portion.durable_at).await {
                Ok(()) => portion.text,
                Err(_) => self.write(portion.places, |text| put_refused(text, problem::outcome_unknown())),
            };
            if pieces.send(text.into()).await.is_err() {
                return;
            }
        }
    }

    /// Decides the portion's next entries, as many as fit into a turn.
    fn judge_some(&self, portion: &mut Judged) {
        let now = self.worker.now();
        let catalogue = self.worker.engine().catalogue();
        let sale = catalogue.sale(self.sale).expect("it was there when the batch began, and none is ever removed");
        let (next, bytes_before) = (portion.first + portion.outcomes.len(), portion.bytes);
        for entry in self.entries[next..].iter().take(TURN.entries) {
            let outcome = self.judge(now, sale, entry).map(|answer| {
                portion.durable_at = portion.durable_at.max(answer.durable_at);
                answer.value
            });
            portion.outcomes.push(outcome);
            portion.bytes += entry.bytes;
            if portion.bytes - bytes_before >= TURN.bytes {
                break;
            }
        }
        if portion.durable_at > 0 {
            // Now, and not when it comes to be shown: later entries are written while earlier ones wait.
            self.worker.tell_journal();
        }
    }

    fn write_judged(&self, portion: Judged) -> Decided {
        // Taken after the decisions: it knows all that they name.
        let catalogue = self.worker.engine().catalogue();
        let places = portion.first..portion.first + portion.outcomes.len();
        let mut outcomes = portion.outcomes.into_iter();
        let text = self.write(places.clone(), |text| {
            put(text, outcomes.next().expect("an outcome for each place"), &catalogue);
        });
        Decided { places, text, durable_at: portion.durable_at }
    }

    /// The steps of the single call, in its order.
    fn judge(
        &self,
        now: Timestamp,
        sale: &Sale,
        entry: &Entry<'_>,
    ) -> Result<Answer<Result<Made, Refusal>>, Response<Body>> {
        self.worker.refuse_if_stopping()?;
        let (limits, rates) = (self.worker.limits(), &self.worker.service.rates);
        let rate_limited = |limited| self.worker.rate_limited(&limited);
        rates.admit_reserve(sale).map_err(rate_limited)?;
        let wrong = match &entry.content {
            Content::TooLarge => return Err(body::too_large(limits.body_bytes_max)),
            Content::Other(json) => vec![Entry::locate(json)],
            Content::Reserve { body, key } => {
                let checked = body.check(&limits.reserve, &self.worker.service.customer_ids);
                match (checked, check_key(key.as_deref())) {
                    (Ok(checked), Ok(key)) => {
                        rates.admit_customer(sale, &checked.customer).map_err(rate_limited)?;
                        return Ok(reservations::ask(self.worker, now, self.sale, checked, key));
                    }
                    (checked, key) => checked.err().into_iter().flatten().chain(key.err()).collect(),
                }
            }
        };
        let refused = Err(Refusal::Invalid(wrong));
        // Counted like the others: no status of an answer tells of it.
        self.worker.service.telemetry.reservations.reserve(&refused);
        Ok(Answer { value: refused, durable_at: 0 })
    }

    /// The text of these places, with what belongs before, between and behind them.
    fn write(&self, places: Range<usize>, mut each: impl FnMut(&mut Vec<u8>)) -> Vec<u8> {
        let mut text = Vec::with_capacity(places.len() * RESULT_BYTES);
        for place in places {
            let lead: &[u8] = if place == 0 { b"{\"results\":[" } else { b"," };
            text.extend_from_slice(lead);
            each(&mut text);
            if place + 1 == self.entries.len() {
                text.extend_from_slice(b"]}");
            }
        }
        text
    }
}

fn check_key(text: Option<&str>) -> Result<Option<&str>, Invalid> {
    let wrong = || Invalid::new("/idempotency_key", format!("must be {}", key_form()));
    text.map(|text| bare_key(text).ok_or_else(wrong)).transpose()
}

fn put(text: &mut Vec<u8>, outcome: Outcome, catalogue: &Catalogue) {
    match outcome {
        Ok(Ok(made)) => GrantedBody::new(&made, catalogue).encode(text),
        Ok(Err(refusal)) => put_refused(text, problem::refuse(&refusal, catalogue)),
        Err(refused) => put_refused(text, refused),
    }
}

/// The document of the single call's answer, with its status.
fn put_refused(text: &mut Vec<u8>, refused: Response<Body>) {
    let status = refused.status().as_u16();
    let Body::Whole(document) = refused.into_body() else { unreachable!("a problem is no stream") };
    write!(text, "{{\"status\":{status},\"problem\":").expect("memory takes what is written to it");
    text.extend_from_slice(&document);
    text.push(b'}');
}
