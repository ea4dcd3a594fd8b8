//! Three questions to Kafka, in its own protocol: which brokers work, which controllers, and which copies of topics.
//!
//! All exist since Kafka 3.7 and are layouts of fixed versions. Source: Kafka's protocol guide, and KIP-482 for numbers
//! of variable length.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Nobody who is asked these questions has more to say.
const ANSWER_BYTES_MAX: u32 = 1 << 20;

/// What can be asked, each with the version of its layout.
const METADATA: (i16, i16) = (3, 12);
const DESCRIBE_QUORUM: (i16, i16) = (55, 1);
const DESCRIBE_CLUSTER: (i16, i16) = (60, 1);

const NO_ERROR: i16 = 0;

/// How far behind a controller may be that follows.
const BEHIND_MS_MAX: i64 = 3000;

/// The controllers, as their leader sees them.
#[derive(Debug, PartialEq, Eq)]
pub struct Quorum {
    pub leader: i32,
    /// Those that have what the leader has, itself included.
    pub in_step: Vec<i32>,
}

/// Asks a broker which ones clients may use, itself included.
pub fn brokers(address: SocketAddr) -> io::Result<Vec<i32>> {
    // Without the rights of whoever asks; brokers, not controllers; no tagged fields.
    let answer = ask(address, DESCRIBE_CLUSTER, &[0, 1, 0])?;
    read_brokers(&mut Fields(&answer)).ok_or_else(malformed)
}

/// Asks a controller for all of them. None when it does not lead.
pub fn quorum(address: SocketAddr) -> io::Result<Option<Quorum>> {
    // One topic with one partition, the first; no tagged fields anywhere.
    let mut question = vec![2];
    put_text(&mut question, "__cluster_metadata");
    question.extend([2, 0, 0, 0, 0, 0, 0, 0]);
    let answer = ask(address, DESCRIBE_QUORUM, &question)?;
    read_quorum(&mut Fields(&answer)).ok_or_else(malformed)
}

/// A partition of a topic.
#[derive(Debug, PartialEq, Eq)]
pub struct Partition {
    pub topic: String,
    pub number: i32,
    /// Brokers that should have it.
    pub copies: usize,
    /// Those of them that have all of it.
    pub in_step: usize,
}

/// Asks a broker for the partitions of all topics.
pub fn partitions(address: SocketAddr) -> io::Result<Vec<Partition>> {
    // All topics, none of which is to be made; without rights; no tagged fields.
    let answer = ask(address, METADATA, &[0, 0, 0, 0])?;
    read_partitions(&mut Fields(&answer)).ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not an answer of Kafka")
}

fn put_text(message: &mut Vec<u8>, text: &str) {
    // Lengths are one more than they say, because 0 is no text at all.
    message.push(u8::try_from(text.len() + 1).expect("a short text"));
    message.extend(text.as_bytes());
}

/// Sends one question and returns the answer after its head.
fn ask(address: SocketAddr, (api, version): (i16, i16), question: &[u8]) -> io::Result<Vec<u8>> {
    const NUMBER: i32 = 1;
    const CLIENT: &str = "xtask";
    let mut message = Vec::new();
    message.extend(api.to_be_bytes());
    message.extend(version.to_be_bytes());
    message.extend(NUMBER.to_be_bytes());
    message.extend([0, CLIENT.len() as u8]);
    message.extend(CLIENT.as_bytes());
    message.push(0);
    message.extend(question);
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;

    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(&[&length.to_be_bytes(), message.as_slice()].concat())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > ANSWER_BYTES_MAX {
        return Err(malformed());
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer)?;
    let mut fields = Fields(&answer);
    let is_ours = fields.i32() == Some(NUMBER) && fields.tags().is_some();
    if is_ours { Ok(fields.0.to_vec()) } else { Err(malformed()) }
}

fn read_brokers(fields: &mut Fields<'_>) -> Option<Vec<i32>> {
    let _throttled_ms = fields.i32()?;
    if fields.i16()? != NO_ERROR {
        return None;
    }
    let _message = fields.text()?;
    let _kind = fields.take::<1>()?;
    let _cluster = fields.text()?;
    // Any broker, which clients may take for the controller.
    let _controller = fields.i32()?;
    fields.list(|fields| {
        let id = fields.i32()?;
        let _host = fields.text()?;
        let _port = fields.i32()?;
        let _rack = fields.text()?;
        fields.tags()?;
        Some(id)
    })
}

fn read_partitions(fields: &mut Fields<'_>) -> Option<Vec<Partition>> {
    let _throttled_ms = fields.i32()?;
    let _brokers = fields.list(|fields| {
        let _id = fields.i32()?;
        let _host = fields.text()?;
        let _port = fields.i32()?;
        let _rack = fields.text()?;
        fields.tags()
    })?;
    let _cluster = fields.text()?;
    let _controller = fields.i32()?;
    let topics = fields.list(|fields| {
        let _error = fields.i16()?;
        let topic = String::from_utf8_lossy(fields.text()?).into_owned();
        let _id = fields.take::<16>()?;
        let _is_internal = fields.take::<1>()?;
        let partitions = fields.list(|fields| {
            let _error = fields.i16()?;
            let number = fields.i32()?;
            let _leader = fields.i32()?;
            let _epoch = fields.i32()?;
            let copies = fields.list(Fields::i32)?.len();
            let in_step = fields.list(Fields::i32)?.len();
            let _offline = fields.list(Fields::i32)?;
            fields.tags()?;
            Some(Partition { topic: topic.clone(), number, copies, in_step })
        })?;
        let _rights = fields.i32()?;
        fields.tags()?;
        Some(partitions)
    })?;
    Some(topics.into_iter().flatten().collect())
}

fn read_quorum(fields: &mut Fields<'_>) -> Option<Option<Quorum>> {
    if fields.i16()? != NO_ERROR {
        return None;
    }
    let topics = fields.list(|fields| {
        let _name = fields.text()?;
        let partitions = fields.list(|fields| {
            let _partition = fields.i32()?;
            let error = fields.i16()?;
            let leader = fields.i32()?;
            let _epoch = fields.i32()?;
            let _end = fields.i64()?;
            let voters = fields.list(read_replica)?;
            let _observers = fields.list(read_replica)?;
            fields.tags()?;
            Some((error, leader, voters))
        })?;
        fields.tags()?;
        Some(partitions)
    })?;
    let (error, leader, voters) = topics.into_iter().flatten().next()?;
    // Whoever does not lead answers with an error.
    let is_leader = error == NO_ERROR;
    let leaders_time = voters.iter().find(|(id, _)| *id == leader).map(|(_, caught_up)| *caught_up);
    let Some(now) = leaders_time.filter(|_| is_leader) else { return Some(None) };
    let in_step = voters.into_iter().filter(|(_, caught_up)| *caught_up >= now - BEHIND_MS_MAX);
    Some(Some(Quorum { leader, in_step: in_step.map(|(id, _)| id).collect() }))
}

/// Who it is, and when it last had all that the leader had.
fn read_replica(fields: &mut Fields<'_>) -> Option<(i32, i64)> {
    let id = fields.i32()?;
    let _end = fields.i64()?;
    let _fetched = fields.i64()?;
    let caught_up = fields.i64()?;
    fields.tags()?;
    Some((id, caught_up))
}

/// What is left of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn take<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in (0..28).step_by(7) {
            let [byte] = self.take()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A text, which may be none. Lengths are one more than they say.
    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?.saturating_sub(1);
        self.bytes(length)
    }

    /// Passes over fields that only later versions know.
    fn tags(&mut self) -> Option<()> {
        for _ in 0..self.number()? {
            let _tag = self.number()?;
            let length = self.number()?;
            self.bytes(length)?;
        }
        Some(())
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = self.number()?.saturating_sub(1);
        (0..length).map(|_| read(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recorded message, with spaces where its parts begin.
    fn bytes(hex: &str) -> Vec<u8> {
        let digits: String = hex.split_whitespace().collect();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
        (0..digits.len()).step_by(2).map(byte).collect()
    }

    #[test]
    fn brokers_are_read() {
        let answer = bytes(
            "00000000 0000 00 01 17534739735a475a686333524c59575a72595441774d51 0000000c
             03 0000000c 0a3132372e302e302e31 00004a95 00 00 0000000b 0a3132372e302e302e31 00004a94 00 00
             80000000 00",
        );
        assert_eq!(read_brokers(&mut Fields(&answer)), Some(vec![12, 11]));
        assert_eq!(read_brokers(&mut Fields(&answer[..40])), None, "the end is missing");
    }

    #[test]
    fn partitions_are_read_with_their_copies() {
        // The second partition is in step on one broker only.
        let answer = bytes(
            "00000000 03 0000000c 0b31302e37372e302e3332 00002384 00 00 0000000b 0b31302e37372e302e3331 00002384 00 00
             17534739735a475a686333524c59575a72595441774d51 0000000b
             02 0000 0d6f726465722d6576656e7473 975bc46660b64404872537d8b45ea10d 00
                03 0000 00000000 0000000b 00000002 03 0000000b 0000000c 03 0000000b 0000000c 01 00
                   0000 00000001 0000000c 00000002 03 0000000c 0000000b 02 0000000c 01 00
                80000000 00
             00",
        );
        let partition =
            |number, in_step| Partition { topic: "order-events".to_owned(), number, copies: 2, in_step };
        assert_eq!(read_partitions(&mut Fields(&answer)), Some(vec![partition(0, 2), partition(1, 1)]));
        assert_eq!(read_partitions(&mut Fields(&answer[..90])), None, "the end is missing");
    }

    #[test]
    fn a_controller_that_does_not_lead_knows_nothing() {
        let answer = bytes(
            "0000 02 135f5f636c75737465725f6d65746164617461 02 00000000 0006 00000000 00000000 0000000000000000
             01 01 00 00 00",
        );
        assert_eq!(read_quorum(&mut Fields(&answer)), Some(None));
    }

    #[test]
    fn controllers_that_are_behind_are_not_in_step() {
        // The first has been behind for a minute.
        let answer = bytes(
            "0000 02 135f5f636c75737465725f6d65746164617461 02 00000000 0000 00000002 00000007 000000000000007a
             04 00000001 000000000000007a 000001a21547f8f0 000001a21547f8f0 00
                00000002 000000000000007a 000001a21548e428 000001a21548e428 00
                00000003 000000000000007a 000001a21548e349 000001a21548e349 00
             01 00 00 00",
        );
        let quorum = Quorum { leader: 2, in_step: vec![2, 3] };
        assert_eq!(read_quorum(&mut Fields(&answer)), Some(Some(quorum)));
    }
}
