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
            /// Appends the packed form.
            pub fn pack(&self, out: &mut Vec<u8>) {
                $(out.extend_from_slice(&self.$number.to_le_bytes());)*
                out.push(self.reason.index() as u8);
                $(
                    let text = &self.$text[..self.$text.len().min(TEXT_BYTES_MAX)];
                    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
                    out.extend_from_slice(text);
                )*
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
                bytes = rest;
                $(
                    let (len, rest) = bytes.split_first_chunk()?;
                    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
                    record.$text = text;
                    bytes = rest;
                )*
                bytes.is_empty().then_some(record)
            }
        }
    };
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
