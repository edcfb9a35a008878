//! Bytes and back: little-endian and variable-length integers, length-prefixed text, and tagged optional fields. Reading never
//! panics and never copies.
//!
//! A variable-length integer has seven bits in each byte, the lowest first; the highest bit says that another byte follows
//! (LEB128, as in Protocol Buffers). A signed one is folded first, so that small negative numbers stay short (ZigZag).

/// The bytes do not hold what their reader expects. With a frame's checksum intact this is a newer or a broken writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("event bytes are malformed: {0}")]
    Bytes(&'static str),
    #[error("event kind {0} is unknown to this version")]
    UnknownEvent(u8),
}

#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Malformed::Bytes("they end too early"))?;
        self.bytes = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(self.take(N)?.try_into().expect("took N bytes"))
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// An integer of variable length.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                return Err(Malformed::Bytes("a number has more than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// As `varint`, for numbers of 32 bits.
    pub fn varint32(&mut self) -> Result<u32, Malformed> {
        self.varint()?.try_into().map_err(|_| Malformed::Bytes("a number has more than 32 bits"))
    }

    /// A signed integer of variable length.
    pub fn signed(&mut self) -> Result<i64, Malformed> {
        let folded = self.varint()?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    /// Bytes behind their length.
    pub fn block(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Bytes("a length is out of range"))?;
        self.take(length)
    }

    /// Text behind its length.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        as_text(self.block()?)
    }

    /// As `text`; no bytes mean that there is none.
    pub fn optional_text(&mut self) -> Result<Option<&'a str>, Malformed> {
        Ok(Some(self.text()?).filter(|text| !text.is_empty()))
    }

    /// The next optional field, its number and its bytes; None at the end. Readers skip numbers that they do not know.
    pub fn field(&mut self) -> Result<Option<(u8, Reader<'a>)>, Malformed> {
        if self.is_empty() {
            return Ok(None);
        }
        Ok(Some((self.u8()?, Reader::new(self.block()?))))
    }

    /// The bytes that are left, as text.
    pub fn rest_as_text(&mut self) -> Result<&'a str, Malformed> {
        as_text(self.rest())
    }
}

fn as_text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed::Bytes("text is not UTF-8"))
}

/// Appends to a lane.
pub trait Write {
    fn put(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }
    fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
    /// An integer of variable length.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8);
    }
    /// A signed integer of variable length.
    fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }
    fn block(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.put(bytes);
    }
    fn text(&mut self, text: &str) {
        self.block(text.as_bytes());
    }
    fn optional_text(&mut self, text: Option<&str>) {
        self.text(text.unwrap_or(""));
    }
    /// An optional field that is text.
    fn text_field(&mut self, number: u8, text: Option<&str>) {
        if let Some(text) = text {
            self.u8(number);
            self.text(text);
        }
    }
}

impl Write for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn u8(&mut self, value: u8) {
        self.push(value);
    }
}

/// Appends what `write` appends behind its length, as `Reader::block` reads it. Short blocks are written in place.
pub fn put_block(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.push(0);
    write(bytes);
    let length = bytes.len() - start - 1;
    if length < 0x80 {
        bytes[start] = length as u8;
        return;
    }
    let mut prefix = Vec::with_capacity(10);
    prefix.varint(length as u64);
    bytes.splice(start..=start, prefix);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_whatever_their_length() {
        let mut bytes = Vec::new();
        let numbers = [0, 1, 0x7f, 0x80, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        let signed = [0, -1, 1, -64, 64, i64::MIN, i64::MAX];
        numbers.iter().for_each(|&number| bytes.varint(number));
        signed.iter().for_each(|&number| bytes.signed(number));
        let mut reader = Reader::new(&bytes);
        assert_eq!(numbers.map(|_| reader.varint().unwrap()), numbers);
        assert_eq!(signed.map(|_| reader.signed().unwrap()), signed);
        assert!(reader.is_empty());
        assert!(Reader::new(&[0xff; 11]).varint().is_err());
        assert!(Reader::new(&[0xff; 9]).varint().is_err());
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).varint32().is_err());
    }

    #[test]
    fn blocks_have_their_length_in_front() {
        for length in [0, 1, 127, 128, 20_000] {
            let mut bytes = vec![7];
            put_block(&mut bytes, |bytes| bytes.put(&vec![9; length]));
            bytes.u8(8);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.u8(), Ok(7));
            assert_eq!(reader.block(), Ok(&vec![9; length][..]));
            assert_eq!(reader.u8(), Ok(8));
        }
    }
}
