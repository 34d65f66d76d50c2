//! One exchange as it goes through the ring: numbers, then texts with their lengths.

use crate::metrics::reason::Reason;

/// Longest text of one kind that is kept; of a longer one the beginning.
pub const TEXT_BYTES_MAX: usize = 8 << 10;

macro_rules! record {
    (
        numbers { $($(#[$ndoc:meta])* $number:ident: $type:ty,)* }
        texts { $($(#[$tdoc:meta])* $text:ident,)* }
    ) => {
        /// The facts of one exchange.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Record<'a> {
            $($(#[$ndoc])* pub $number: $type,)*
            pub reason: Reason,
            $($(#[$tdoc])* pub $text: &'a [u8],)*
        }

        impl<'a> Record<'a> {
            /// What stands before the texts: numbers, the reason, and how long each text is.
            const HEAD_BYTES: usize =
                0 $(+ size_of::<$type>())* + 1 $(+ { stringify!($text); 2 })*;

            /// Appends the packed form.
            pub fn pack(&self, out: &mut Vec<u8>) {
                // Written in one piece: a line has some thirty parts.
                let mut head = [0; Record::HEAD_BYTES];
                let mut rest = &mut head[..];
                $(put(&mut rest, self.$number.to_le_bytes());)*
                put(&mut rest, [self.reason.index() as u8]);
                $(put(&mut rest, (self.$text.len().min(TEXT_BYTES_MAX) as u16).to_le_bytes());)*
                out.extend_from_slice(&head);
                $(out.extend_from_slice(&self.$text[..self.$text.len().min(TEXT_BYTES_MAX)]);)*
            }

            /// `None` for what `pack` did not make.
            pub fn unpack(mut bytes: &'a [u8]) -> Option<Record<'a>> {
                let mut record = Record::default();
                $(
                    let (number, rest) = bytes.split_first_chunk()?;
                    record.$number = <$type>::from_le_bytes(*number);
                    bytes = rest;
                )*
                let (reason, rest) = bytes.split_first()?;
                record.reason = *Reason::ALL.get(usize::from(*reason))?;
                let (mut lens, mut texts) =
                    rest.split_at_checked(0 $(+ { stringify!($text); 2 })*)?;
                $(
                    let (len, rest) = lens.split_first_chunk()?;
                    lens = rest;
                    (record.$text, texts) =
                        texts.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
                )*
                debug_assert!(lens.is_empty());
                texts.is_empty().then_some(record)
            }
        }
    };
}

#[inline]
fn put<const N: usize>(rest: &mut &mut [u8], bytes: [u8; N]) {
    let (place, behind) =
        std::mem::take(rest).split_first_chunk_mut().expect("the head has room for all");
    *place = bytes;
    *rest = behind;
}

record! {
    numbers {
        /// Microseconds since 1970, of the request's head.
        time_us: u64,
        generation: u64,
        bytes_in: u64,
        bytes_out: u64,
        duration_us: u64,
        /// `u64::MAX`: there was no answer's head.
        first_byte_us: u64,
        own_us: u64,
        /// Of the final answer; 0 when the client got none.
        status: u16,
        attempts: u16,
        /// 0 for HTTP/1.0.
        minor: u16,
    }
    texts {
        client,
        method,
        host,
        /// As it came, without the query.
        path,
        query,
        route,
        upstream,
        endpoint,
        /// Who it was, when that was found out.
        consumer,
        request_id,
        user_agent,
        referer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let long = vec![b'x'; TEXT_BYTES_MAX + 1];
        let record = Record {
            time_us: 1_784_111_777_123_456,
            generation: 3,
            status: 502,
            first_byte_us: u64::MAX,
            reason: Reason::BadAnswer,
            method: b"GET",
            path: b"/a",
            referer: b"\xff\x00",
            ..Record::default()
        };
        let mut packed = Vec::new();
        record.pack(&mut packed);
        assert_eq!(Record::unpack(&packed), Some(record));
        for end in 0..packed.len() {
            assert_eq!(Record::unpack(&packed[..end]), None, "{end}");
        }
        let mut packed = Vec::new();
        Record { path: &long, ..record }.pack(&mut packed);
        assert_eq!(Record::unpack(&packed).unwrap().path.len(), TEXT_BYTES_MAX);
    }
}
