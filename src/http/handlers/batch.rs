//! Reserve for many customers with one request.
//!
//! Each entry is decided as the single call would decide it, as if all entries were sent one after the other. The work is done
//! in portions, between which the worker's other requests run. First the handler reads the whole body, so that it refuses a
//! broken one before anything is done. Then it makes the answer piece by piece: it checks a piece's entries, decides them shard
//! by shard where their order makes no difference, and writes their results in order, deciding the remaining entries on the
//! way. It sends a piece once it is durable, while it decides later ones; a caller that reads slowly slows them down. If a
//! caller disconnects, the work ends after the current piece, and what was decided stays.

use std::{borrow::Cow, collections::VecDeque, io::Write, ops::Range, rc::Rc, sync::Arc};

use bytes::Bytes;
use hyper::{Response, StatusCode};
use tokio::sync::{mpsc, oneshot};

use super::{Answered, IDEMPOTENCY_KEY, json_bytes, reservations};
use crate::{
    engine::{Epoch, Together},
    http::{
        Body, BoxedRequest, BoxedResponse,
        body::{self, Limit, Stream},
        buffers::{self, Room, Share},
        entries::{self, Content, Entries, GrantedBody, Portion, Reader},
        problem,
        wire::CheckedReserve,
        worker::Worker,
    },
    sale::{
        catalogue::Sale,
        outcome::Refusal,
        rule::{Rule, bare_key},
        settings::Invalid,
    },
};

/// Work per portion of reading: well below a millisecond, whatever the entries are.
const PORTION: Portion = Portion { entries: 128, bytes: 32 << 10 };

/// Work per portion of checking, deciding or writing. A request that arrives meanwhile waits for a portion twice: before it is
/// read, and before it is answered.
const TURN: Portion = Portion { entries: 32, bytes: 8 << 10 };

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

pub async fn reserve(worker: &Rc<Worker>, sale: &str, request: BoxedRequest) -> Answered {
    if request.headers().contains_key(&IDEMPOTENCY_KEY) {
        let detail = "a batch takes no Idempotency-Key header: give each entry its own idempotency_key";
        return Err(problem::invalid(&[Invalid::new("", detail)]));
    }
    let limits = worker.limits();
    let limit = Limit { bytes_max: limits.batch_body_bytes_max, time_max: limits.body_read_time, share: Share::Large };
    let bytes = body::read(&worker.service.buffers, request, limit, true).await?;
    let (begin, begun) = oneshot::channel();
    tokio::task::spawn_local(answer(worker.clone(), sale.to_owned(), bytes, begin));
    begun.await.expect("a batch that somebody waits for begins its answer")
}

/// Reads the body, then streams the answer. Entries borrow from the body, so all of this is one task.
async fn answer(worker: Rc<Worker>, sale: String, bytes: Bytes, begin: oneshot::Sender<Answered>) {
    let entries = match read(&worker, &bytes, &begin).await {
        Ok(entries) => entries,
        Err(wrong) => return drop(begin.send(Err(problem::invalid(&[wrong])))),
    };
    let sale = match worker.engine().catalogue().sale(&sale) {
        Ok(sale) => sale.clone(),
        Err(refusal) => return drop(begin.send(Err(problem::refuse(&refusal, worker.engine())))),
    };
    let mut room = worker.service.buffers.begin(Share::Large);
    if let Err(full) = room.take(entries.bytes() + answer_bytes(bytes.len(), entries.len())) {
        return drop(begin.send(Err(full.into())));
    }
    let room = Arc::new(room);
    let (pieces, to_send) = mpsc::channel(PARTS_AHEAD);
    // Dropped when this task ends.
    let (_through, ended) = oneshot::channel();
    let body = Body::Streamed(Stream::new(to_send, ended));
    if begin.send(Ok(body::unbuffered(json_bytes(StatusCode::OK, body)))).is_err() {
        return;
    }
    let (decided, to_show) = mpsc::channel(PIECES_UNDURABLE);
    let batch = Batch { worker: &worker, sale, entries };
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

/// Reserves for the engine.
struct Asked<'a> {
    reserve: CheckedReserve<'a>,
    key: Option<Cow<'a, str>>,
}

impl Batch<'_> {
    async fn decide(&self, decided: mpsc::Sender<Piece>) {
        let mut next = 0;
        // Closed when the caller has disconnected.
        while next < self.entries.len() && !decided.is_closed() {
            let piece = self.decide_piece(next).await;
            if piece.durable_at > self.worker.engine().durability().epoch() {
                // Now, and not when it is sent: later entries are decided while earlier ones are written.
                self.worker.tell_journal();
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
        let (mut asked, mut refused) = (Vec::with_capacity(count), VecDeque::new());
        while asked.len() < count {
            let next = first + asked.len();
            let turn = self.entries.fitting(next, TURN).min(count - asked.len());
            worker.in_turn(|| self.check(next..next + turn, &mut asked, &mut refused)).await;
        }
        let mut together = worker.engine().together(count);
        for asked in asked.chunks(TURN.entries) {
            worker.in_turn(|| self.gather(asked, &mut together)).await;
        }
        while worker.in_turn(|| together.decide_some(worker.now(), TURN.entries)).await {}
        let mut piece = Piece { places: first..first, text: Vec::with_capacity(count * RESULT_BYTES), durable_at: 0 };
        for asked in asked.chunks(TURN.entries) {
            worker.in_turn(|| self.tell(asked, &mut refused, &mut together, &mut piece)).await;
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
    fn check<'a>(
        &'a self,
        entries: Range<usize>,
        asked: &mut Vec<Option<Asked<'a>>>,
        refused: &mut VecDeque<BoxedResponse>,
    ) {
        let catalogue = self.worker.engine().catalogue();
        let sale = catalogue.sale_numbered(self.sale.number);
        for entry in entries {
            let checked = self.check_one(sale, entry);
            asked.push(checked.map_err(|response| refused.push_back(response)).ok());
        }
    }

    fn check_one(&self, sale: &Sale, entry: usize) -> Result<Asked<'_>, BoxedResponse> {
        self.worker.refuse_if_stopping()?;
        let (limits, rates) = (self.worker.limits(), &self.worker.service.rates);
        let rate_limited = |limited| self.worker.rate_limited(&limited);
        rates.admit_reserve(sale).map_err(rate_limited)?;
        let wrong = match self.entries.content(entry) {
            Content::TooLarge => return Err(body::too_large(limits.body_bytes_max)),
            Content::Other(json) => entries::explain(json, &self.worker.bounds()),
            Content::Reserve { body, key } => {
                match (body.check(&limits.reserve, &self.worker.service.customer_ids), check_key(key)) {
                    (Ok(reserve), Ok(key)) => {
                        rates.admit_customer(sale, &reserve.customer).map_err(rate_limited)?;
                        return Ok(Asked { reserve, key });
                    }
                    (reserve, key) => reserve.err().into_iter().flatten().chain(key.err()).collect(),
                }
            }
        };
        let refused = Refusal::Invalid(wrong);
        // Counted here, because the answer's status does not show it.
        self.worker.tally.refused(&refused);
        Err(problem::refuse(&refused, self.worker.engine()))
    }

    fn gather<'a>(&'a self, asked: &'a [Option<Asked<'_>>], together: &mut Together<'_, 'a>) {
        let now = self.worker.now();
        for Asked { reserve, key } in asked.iter().flatten() {
            together.push(now, &reserve.asked(&self.sale.settings.id, key.as_deref()), self.worker.entropy());
        }
    }

    /// Writes the results of the next entries. Decides the remaining ones now.
    fn tell(
        &self,
        asked: &[Option<Asked<'_>>],
        refused: &mut VecDeque<BoxedResponse>,
        together: &mut Together<'_, '_>,
        piece: &mut Piece,
    ) {
        for asked in asked {
            let made = match asked {
                None => Err(refused.pop_front().expect("what is not asked was refused")),
                Some(Asked { reserve, key }) => {
                    let answer = match together.tell_next() {
                        None => reservations::ask(self.worker, self.worker.now(), &self.sale, reserve, key.as_deref()),
                        Some(answer) => {
                            reservations::count(self.worker, self.sale.number, &answer.value);
                            answer
                        }
                    };
                    piece.durable_at = piece.durable_at.max(answer.durable_at);
                    answer.value.map_err(|refusal| problem::refuse(&refusal, self.worker.engine()))
                }
            };
            self.write(piece.places.end, &mut piece.text, |text| match made {
                // The current catalogue has every item of these reservations.
                Ok(made) => GrantedBody::new(&made, &self.worker.engine().catalogue()).encode(text),
                Err(refused) => put_refused(text, &refused),
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
            self.write(place, &mut refused, |text| put_refused(text, &problem::outcome_unknown()));
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

/// The document of the single call's answer, with its status.
fn put_refused(text: &mut Vec<u8>, refused: &Response<Body>) {
    let status = refused.status().as_u16();
    let Body::Whole(document) = refused.body() else { unreachable!("a problem is no stream") };
    write!(text, "{{\"status\":{status},\"problem\":").expect("memory takes what is written to it");
    text.extend_from_slice(document);
    text.push(b'}');
}
