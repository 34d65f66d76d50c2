//! A body on its way through: as it is, re-framed, counted.
//!
//! ```text
//!             to Raw                to Data (HTTP/1.0)     to Chunked
//!  Length     as it is              as it is               –
//!  Chunked    as it is, trailers    data only, no trailers –
//!             filtered
//!  UntilClose as it is              as it is               each read is a chunk
//! ```

use parser::chunked::{ChunkEvent, ChunkedDecoder, parse_trailers};
use parser::connection::is_forbidden_trailer;
use parser::error::ParseError;
use parser::framing::BodyFraming;
use parser::scan::HeadScan;
use parser::{Fields, Limits};

/// How the far side learns where the body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Out {
    /// As it came.
    Raw,
    /// Data without framing; the connection's end is the body's.
    Data,
    /// In chunks of our making.
    Chunked,
}

#[derive(Debug)]
enum Kind {
    Length(u64),
    Chunked(ChunkedDecoder),
    Trailers(HeadScan),
    UntilClose,
    Done,
}

/// One body between reading and writing.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    out: Out,
    limits: Limits,
    /// Bytes of data so far, without framing.
    data: u64,
}

/// What became of some input: `taken` bytes are done with. To be written are the first `raw` of
/// them as they are, then what was put into `aux`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Step {
    pub taken: usize,
    pub raw: usize,
    pub done: bool,
}

impl Body {
    pub fn new(framing: BodyFraming, out: Out, limits: &Limits) -> Body {
        let kind = match framing {
            BodyFraming::None | BodyFraming::Length(0) => Kind::Done,
            BodyFraming::Length(n) => Kind::Length(n),
            BodyFraming::Chunked => Kind::Chunked(ChunkedDecoder::new(limits)),
            BodyFraming::UntilClose => Kind::UntilClose,
        };
        Body { kind, out, limits: *limits, data: 0 }
    }

    #[inline]
    pub fn is_done(&self) -> bool {
        matches!(self.kind, Kind::Done)
    }

    /// Whether a step may put anything into `aux`.
    #[inline]
    pub fn writes_aux(&self) -> bool {
        !matches!(self.kind, Kind::Done | Kind::Length(_))
    }

    /// Bytes of data seen so far.
    #[inline]
    pub fn data(&self) -> u64 {
        self.data
    }

    /// Takes what it can of `input`. Bytes it does not take are to be shown again, with more
    /// behind them. `trailers` is scratch; those that `is_dropped` says stay on their hop.
    pub fn step(
        &mut self,
        input: &[u8],
        aux: &mut Vec<u8>,
        trailers: &mut Fields,
        is_dropped: impl Fn(&[u8]) -> bool,
    ) -> Result<Step, ParseError> {
        match &mut self.kind {
            Kind::Done => Ok(Step { taken: 0, raw: 0, done: true }),
            Kind::Length(left) => {
                let taken = (*left).min(input.len() as u64);
                *left -= taken;
                let done = *left == 0;
                self.data += taken;
                if done {
                    self.kind = Kind::Done;
                }
                Ok(Step { taken: taken as usize, raw: taken as usize, done })
            }
            Kind::UntilClose => {
                self.data += input.len() as u64;
                let raw = self.out_data(input, aux);
                Ok(Step { taken: input.len(), raw, done: false })
            }
            Kind::Chunked(_) | Kind::Trailers(_) => {
                self.step_chunked(input, aux, trailers, is_dropped)
            }
        }
    }

    /// Writes data that has no framing of its own yet; returns how much of it goes as it is.
    fn out_data(&self, data: &[u8], aux: &mut Vec<u8>) -> usize {
        if self.out != Out::Chunked {
            return data.len();
        }
        if !data.is_empty() {
            parser::encode::chunk_head(aux, data.len() as u64);
            aux.extend_from_slice(data);
            aux.extend_from_slice(b"\r\n");
        }
        0
    }

    fn step_chunked(
        &mut self,
        input: &[u8],
        aux: &mut Vec<u8>,
        trailers: &mut Fields,
        is_dropped: impl Fn(&[u8]) -> bool,
    ) -> Result<Step, ParseError> {
        let mut at = 0;
        if let Kind::Chunked(decoder) = &mut self.kind {
            loop {
                match decoder.next(input, &mut at)? {
                    ChunkEvent::Data(range) => {
                        self.data += range.len() as u64;
                        if self.out == Out::Data {
                            aux.extend_from_slice(&input[range]);
                        }
                    }
                    ChunkEvent::NeedMore => {
                        return Ok(Step { taken: at, raw: self.raw_of(at), done: false });
                    }
                    ChunkEvent::Trailers => break,
                }
            }
            self.kind = Kind::Trailers(HeadScan::trailers());
        }
        let section = &input[at..];
        let Kind::Trailers(scan) = &mut self.kind else {
            return Ok(Step { taken: at, raw: self.raw_of(at), done: true });
        };
        let Some(len) = scan.push(section, &self.limits)? else {
            // The section is shown again from its first byte; the scan remembers how far it saw.
            return Ok(Step { taken: at, raw: self.raw_of(at), done: false });
        };
        self.kind = Kind::Done;
        if len == 2 {
            let raw = self.raw_of(at + 2);
            return Ok(Step { taken: at + 2, raw, done: true });
        }
        parse_trailers(&section[..len], trailers, &self.limits)?;
        if self.out == Out::Raw {
            for field in trailers.iter() {
                let (name, value) = (field.name.of(section), field.value.of(section));
                if !is_forbidden_trailer(name) && !is_dropped(name) {
                    parser::encode::field(aux, name, value);
                }
            }
            aux.extend_from_slice(b"\r\n");
        }
        Ok(Step { taken: at + len, raw: self.raw_of(at), done: true })
    }

    fn raw_of(&self, taken: usize) -> usize {
        if self.out == Out::Raw { taken } else { 0 }
    }

    /// The input has ended. True when that is where the body ends; `aux` gets the last chunk.
    pub fn end(&mut self, aux: &mut Vec<u8>) -> bool {
        match self.kind {
            Kind::Done => true,
            Kind::UntilClose => {
                self.kind = Kind::Done;
                if self.out == Out::Chunked {
                    aux.extend_from_slice(b"0\r\n\r\n");
                }
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in two parts at every split and returns what is written, which must not
    /// depend on the split.
    fn relay(framing: BodyFraming, out: Out, input: &[u8]) -> (Vec<u8>, bool, usize) {
        let mut results = Vec::new();
        for split in 0..=input.len() {
            let mut body = Body::new(framing, out, &Limits::default());
            let mut fields = Fields::default();
            let (mut written, mut pending, mut taken) = (Vec::new(), Vec::new(), 0);
            let mut done = body.is_done();
            for part in [&input[..split], &input[split..]] {
                pending.extend_from_slice(part);
                let mut aux = Vec::new();
                let step = body.step(&pending, &mut aux, &mut fields, |n| n == b"X-Hop").unwrap();
                written.extend_from_slice(&pending[..step.raw]);
                written.extend_from_slice(&aux);
                pending.drain(..step.taken);
                taken += step.taken;
                done |= step.done;
            }
            let mut aux = Vec::new();
            let ended = body.end(&mut aux);
            written.extend_from_slice(&aux);
            results.push((written, done, ended, taken));
        }
        let (first, done, ended, taken) = results.pop().unwrap();
        if out != Out::Chunked {
            assert!(results.iter().all(|r| r.0 == first && r.2 == ended && r.3 == taken));
        }
        assert_eq!(done || framing == BodyFraming::UntilClose, ended);
        (first, ended, taken)
    }

    #[test]
    fn a_length_body_takes_exactly_its_length() {
        let got = relay(BodyFraming::Length(5), Out::Raw, b"helloGET /");
        assert_eq!(got, (b"hello".to_vec(), true, 5));
        assert!(!relay(BodyFraming::Length(5), Out::Raw, b"hell").1, "cut short");
        assert_eq!(relay(BodyFraming::Length(0), Out::Raw, b"GET /").2, 0);
    }

    #[test]
    fn chunks_pass_as_they_are_or_as_data() {
        let wire = b"5\r\nhello\r\n3;a=b\r\nyou\r\n0\r\n\r\nNEXT";
        let (written, ended, taken) = relay(BodyFraming::Chunked, Out::Raw, wire);
        assert_eq!((&written[..], ended, taken), (&wire[..27], true, 27));
        let (written, ended, _) = relay(BodyFraming::Chunked, Out::Data, wire);
        assert_eq!((&written[..], ended), (&b"helloyou"[..], true));
        assert!(!relay(BodyFraming::Chunked, Out::Raw, b"5\r\nhello\r\n0\r\n").1);
    }

    #[test]
    fn trailers_pass_but_never_framing_credentials_or_what_is_nominated() {
        let wire = b"0\r\nX-Sum: 1\r\nContent-Length: 5\r\nAuthorization: x\r\nHost: a\r\n\
                     X-Hop: 1\r\nX_Consumer_Name: root\r\n\r\n";
        let (written, ended, taken) = relay(BodyFraming::Chunked, Out::Raw, wire);
        assert_eq!(&written[..], b"0\r\nX-Sum: 1\r\n\r\n");
        assert_eq!((ended, taken), (true, wire.len()));
        assert_eq!(relay(BodyFraming::Chunked, Out::Data, wire).0, b"");
    }

    #[test]
    fn a_close_delimited_body_can_be_chunked() {
        let (written, ended, _) = relay(BodyFraming::UntilClose, Out::Chunked, b"hello");
        assert_eq!((&written[..], ended), (&b"5\r\nhello\r\n0\r\n\r\n"[..], true));
        let (written, ended, _) = relay(BodyFraming::UntilClose, Out::Data, b"hello");
        assert_eq!((&written[..], ended), (&b"hello"[..], true));
    }
}
