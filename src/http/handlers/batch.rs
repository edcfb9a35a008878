//! Reserve for many customers with one request.
//!
//! Each entry is decided as the single call would decide it, as if all entries were sent one after the other. The work is done
//! in portions, between which the worker's other requests run. First the handler reads the whole body, so that it refuses a
//! broken one before anything is done. Then it makes the answer piece by piece: it checks a piece's entries, decides them shard
//! by shard where their order makes no difference, and writes their results in order, deciding the remaining entries on the
//! way. It sends a piece once it is durable, while it decides later ones; a caller that reads slowly slows them down. If a
//! caller disconnects, the work ends after the current piece, and what was decided stays.

use std::{borrow::Cow, io::Write, ops::Range, rc::Rc, sync::Arc};

use bytes::Bytes;
use hyper::StatusCode;
use tokio::sync::{mpsc, oneshot};

use super::{Answered, IDEMPOTENCY_KEY, json_bytes};
use crate::{
    api::{
        Asked, SaleRef,
        problems::{self, Problem},
        refused::Refused,
    },
    auth::Caller,
    engine::{Bulk, Epoch},
    http::{
        body::{self, BodyLimit, BoxedRequest},
        buffers::{self, Room, Share},
        json::{
            self,
            entries::{self, Content, Entries, GrantedBody, Portion, Reader},
        },
        response::{self, Body, Stream},
        worker::Worker,
    },
    sale::{
        catalogue::Sale,
        ids::SaleNumber,
        rule::{Rule, bare_key},
        settings::Invalid,
    },
};

/// Work per portion of reading: well below a millisecond, whatever the entries are.
const PORTION: Portion = Portion { entries: 128, bytes: 32 << 10 };

/// Work per portion of checking, deciding or writing. A request that arrives meanwhile waits for a portion twice: before it is
/// read, and before it is answered.
const DECIDED: Portion = Portion { entries: 32, bytes: 8 << 10 };

/// Entries per piece of the answer, and per wait for the disk. Disks sync fast enough to commit every few dozen entries, but
/// each commit costs all workers something.
const PIECE: Portion = Portion { entries: 1024, bytes: 256 << 10 };

/// Pieces that may be decided but not yet durable: about as many as one sync of the disk takes, and some more.
const PIECES_UNDURABLE: usize = 2;

/// Bytes sent to the socket at a time, so that other requests run in between.
const SENT_BYTES: usize = 32 << 10;

/// Parts of a piece that are ready before the caller takes them.
const PARTS_AHEAD: usize = 1;

/// About the bytes of an entry in the answer.
const RESULT_BYTES: usize = 384;

pub(super) async fn reserve(
    worker: &Rc<Worker>,
    caller: &Arc<Caller>,
    sale: Option<SaleNumber>,
    request: BoxedRequest,
) -> Answered {
    if request.headers().contains_key(&IDEMPOTENCY_KEY) {
        let detail = "a batch takes no Idempotency-Key header: give each entry its own idempotency_key";
        return Err(Invalid::new("", detail).into());
    }
    let limits = &worker.service.limits;
    let limit =
        BodyLimit { bytes_max: limits.batch_body_bytes_max, time_max: limits.body_read_time, share: Share::Large };
    let bytes = body::read(&worker.service.buffers, request, limit, true).await?;
    let (begin, begun) = oneshot::channel();
    tokio::task::spawn_local(answer(worker.clone(), caller.clone(), sale, bytes, begin));
    begun.await.expect("a batch that somebody waits for begins its answer")
}

/// Reads the body, then streams the answer. Entries borrow from the body, so all of this is one task.
async fn answer(
    worker: Rc<Worker>,
    caller: Arc<Caller>,
    sale: Option<SaleNumber>,
    bytes: Bytes,
    begin: oneshot::Sender<Answered>,
) {
    let entries = match read(&worker, &bytes, &begin).await {
        Ok(entries) => entries,
        Err(wrong) => return drop(begin.send(Err(wrong.into()))),
    };
    let Some(sale) = sale else { return drop(begin.send(Err(Refused::no_such_sale()))) };
    let sale = worker.engine().catalogue().sale_numbered(sale).clone();
    let mut room = worker.service.buffers.begin(Share::Large);
    if let Err(full) = room.take(entries.bytes() + answer_bytes(bytes.len(), entries.len())) {
        return drop(begin.send(Err(full.into())));
    }
    let room = Arc::new(room);
    let (pieces, to_send) = mpsc::channel(PARTS_AHEAD);
    // Dropped when this task ends.
    let (_through, ended) = oneshot::channel();
    let body = Body::Streamed(Stream::new(to_send, ended));
    if begin.send(Ok(response::unbuffered(json_bytes(StatusCode::OK, body)))).is_err() {
        return;
    }
    let (decided, to_show) = mpsc::channel(PIECES_UNDURABLE);
    let batch = Batch { worker: &worker, caller, sale, entries };
    tokio::join!(batch.decide(decided), batch.show(to_show, pieces, &room));
}

/// About as much of the answer as is made and has not left, at most: pieces that are decided, waited for and handed over.
/// What an entry says comes back in its result, and what is added to that has a limit.
fn answer_bytes(body_bytes: usize, entries: usize) -> usize {
    let pieces = PIECES_UNDURABLE + 3;
    let of_pieces = 2 * PIECE.bytes + PIECE.entries * RESULT_BYTES;
    (2 * body_bytes + entries * RESULT_BYTES).min(pieces * of_pieces)
}

async fn read<'a>(worker: &Worker, bytes: &'a [u8], begin: &oneshot::Sender<Answered>) -> Result<Entries<'a>, Invalid> {
    let entry_bytes_max = worker.service.limits.body_bytes_max;
    let mut reader = Reader::new(bytes, worker.limits().batch_entries_max, entry_bytes_max);
    while !worker.in_portions(|| reader.read(PORTION)).await? {
        if begin.is_closed() {
            return Err(Invalid::new("", "the caller has disconnected"));
        }
    }
    Ok(reader.into_entries())
}

struct Batch<'a> {
    worker: &'a Worker,
    caller: Arc<Caller>,
    /// As it was when the batch began: its id and its number never change.
    sale: Arc<Sale>,
    entries: Entries<'a>,
}

/// A piece of the answer: the results of some entries, and the epoch that they wait for.
struct Piece {
    places: Range<usize>,
    text: Vec<u8>,
    durable_at: Epoch,
}

impl Batch<'_> {
    async fn decide(&self, decided: mpsc::Sender<Piece>) {
        let mut next = 0;
        // Closed when the caller has disconnected.
        while next < self.entries.len() && !decided.is_closed() {
            let piece = self.decide_piece(next).await;
            if piece.durable_at > self.worker.engine().durability().epoch() {
                // Now, and not when it is sent: later entries are decided while earlier ones are written.
                self.worker.notify_journal();
            }
            next = piece.places.end;
            if decided.send(piece).await.is_err() {
                return;
            }
        }
    }

    /// Decides the entries from this one on that make up a piece.
    async fn decide_piece(&self, first: usize) -> Piece {
        let (worker, count) = (self.worker, self.entries.fitting(first, PIECE));
        let mut asked = Vec::with_capacity(count);
        while asked.len() < count {
            let next = first + asked.len();
            let portion = self.entries.fitting(next, DECIDED).min(count - asked.len());
            worker.in_portions(|| self.check(next..next + portion, &mut asked)).await;
        }
        let mut bulk = worker.engine().bulk(count);
        for asked in asked.chunks(DECIDED.entries) {
            worker.in_portions(|| worker.api.gather(&self.sale.settings.id, asked, &mut bulk)).await;
        }
        while worker.in_portions(|| bulk.decide_some(worker.api.service.now(), DECIDED.entries)).await {}
        let mut piece = Piece { places: first..first, text: Vec::with_capacity(count * RESULT_BYTES), durable_at: 0 };
        for asked in asked.chunks(DECIDED.entries) {
            worker.in_portions(|| self.conclude(asked, &mut bulk, &mut piece)).await;
        }
        // Quotas, too, are what an operator put.
        piece.durable_at = piece.durable_at.max(worker.engine().operator_epoch());
        piece
    }

    /// `room`: what is given back when the last piece has left.
    async fn show(&self, mut decided: mpsc::Receiver<Piece>, pieces: mpsc::Sender<Bytes>, room: &Arc<Room>) {
        while let Some(piece) = decided.recv().await {
            let text = match self.worker.durable(piece.durable_at).await {
                Ok(()) => piece.text,
                Err(_) => self.refuse_all(piece.places),
            };
            let mut text = buffers::held(text, room.clone());
            while !text.is_empty() {
                if pieces.send(text.split_to(text.len().min(SENT_BYTES))).await.is_err() {
                    return;
                }
            }
        }
    }

    /// The steps of the single call before the engine's, in its order.
    fn check<'a>(&'a self, entries: Range<usize>, asked: &mut Vec<Result<Asked<'a>, Refused>>) {
        let catalogue = self.worker.engine().catalogue();
        let sale = catalogue.sale_numbered(self.sale.number);
        asked.extend(entries.map(|entry| self.check_one(sale, entry)));
    }

    fn check_one(&self, sale: &Sale, entry: usize) -> Result<Asked<'_>, Refused> {
        let Worker { api, service, .. } = self.worker;
        api.admit_entry(sale)?;
        let entry = match self.entries.content(entry) {
            Content::TooLarge => return Err(body::too_large(service.limits.body_bytes_max)),
            Content::Other(json) => Err(entries::explain(json, &api.service.limits)),
            Content::Reserve { body, key } => {
                match (body.check(&api.service.limits, &api.service.customer_ids), check_key(key)) {
                    (Ok(reserve), Ok(key)) => Ok(Asked { reserve, key }),
                    (reserve, key) => Err(reserve.err().into_iter().flatten().chain(key.err()).collect()),
                }
            }
        };
        api.check_entry(&self.caller, sale, entry)
    }

    /// Writes the results of the next entries. Decides the remaining ones now.
    fn conclude(&self, asked: &[Result<Asked<'_>, Refused>], bulk: &mut Bulk<'_, '_>, piece: &mut Piece) {
        let api = &self.worker.api;
        let sale = SaleRef { number: self.sale.number, id: &self.sale.settings.id };
        // At least as new as the one that decided: it names everything.
        let mut catalogue = self.worker.engine().catalogue();
        for asked in asked {
            let outcome = asked.as_ref().map(|asked| api.conclude(&mut catalogue, sale, asked, bulk));
            if let Ok(answer) = &outcome {
                piece.durable_at = piece.durable_at.max(answer.durable_at);
            }
            self.write(piece.places.end, &mut piece.text, |text| match outcome.map(|answer| answer.value) {
                Ok(Ok(made)) => GrantedBody::new(&made, &catalogue).encode(text),
                Ok(Err(refusal)) => {
                    let problem = problems::of(refusal.code());
                    write_problem(text, problem, |text| {
                        json::problem::write_refusal(text, problem, &refusal, &catalogue);
                    });
                }
                Err(refused) => write_refused(text, refused),
            });
            piece.places.end += 1;
        }
    }

    /// Writes one result, with the brackets and commas around it.
    fn write(&self, place: usize, text: &mut Vec<u8>, each: impl FnOnce(&mut Vec<u8>)) {
        let lead: &[u8] = if place == 0 { b"{\"results\":[" } else { b"," };
        text.extend_from_slice(lead);
        each(text);
        if place + 1 == self.entries.len() {
            text.extend_from_slice(b"]}");
        }
    }

    /// Replaces a result whose durability is unknown.
    fn refuse_all(&self, places: Range<usize>) -> Vec<u8> {
        let mut refused = Vec::new();
        for place in places {
            self.write(place, &mut refused, |text| write_refused(text, &Refused::outcome_unknown()));
        }
        refused
    }
}

fn check_key(text: Option<Cow<'_, str>>) -> Result<Option<Cow<'_, str>>, Invalid> {
    let wrong = || Invalid::new("/idempotency_key", Rule::IdempotencyKey);
    let bare = |text| match text {
        Cow::Borrowed(text) => bare_key(text).map(Cow::Borrowed),
        Cow::Owned(text) => bare_key(&text).map(|key| Cow::Owned(key.to_owned())),
    };
    text.map(|text| bare(text).ok_or_else(wrong)).transpose()
}

/// A request that was refused before the rules were asked.
fn write_refused(text: &mut Vec<u8>, refused: &Refused) {
    write_problem(text, refused.problem, |text| text.extend(json::problem::of_refused(refused)));
}

/// The document of the single call's answer, with its status.
fn write_problem(text: &mut Vec<u8>, problem: &Problem, document: impl FnOnce(&mut Vec<u8>)) {
    write!(text, "{{\"status\":{},\"problem\":", problem.status).expect("memory takes what is written to it");
    document(text);
    text.push(b'}');
}
