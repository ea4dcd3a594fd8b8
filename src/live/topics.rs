//! Who is told what: the open streams of a topic share each event, and a topic without streams is forgotten.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::ports::Unavailable;

/// An event as it goes over the wire, made once for all streams.
#[derive(Clone, Debug)]
pub struct Frame {
    pub id: Arc<str>,
    pub bytes: Bytes,
}

impl Frame {
    /// An event with JSON of one line.
    pub fn new(event: &str, id: &str, data: &str) -> Self {
        let bytes = format!("id: {id}\nevent: {event}\ndata: {data}\n\n").into();
        Self { id: id.into(), bytes }
    }
}

/// The newest event of a topic, for one stream. Whoever reads slowly skips those between.
pub type Frames = watch::Receiver<Frame>;

/// The topics with open streams, each with what is known of it.
pub struct Topics<K, S> {
    /// `None` once it is closed.
    open: Mutex<Option<BTreeMap<K, Topic<S>>>>,
    wanted: Notify,
}

struct Topic<S> {
    state: S,
    frames: watch::Sender<Frame>,
}

impl<K, S> Default for Topics<K, S> {
    fn default() -> Self {
        Self { open: Mutex::new(Some(BTreeMap::new())), wanted: Notify::new() }
    }
}

impl<K: Ord + Copy, S> Topics<K, S> {
    /// Another stream of a topic that has some already.
    pub fn hear(&self, key: K) -> Option<Frames> {
        self.open().as_ref()?.get(&key).map(|topic| topic.frames.subscribe())
    }

    /// A stream of a topic, which begins as `first` says unless it has streams already.
    ///
    /// # Errors
    /// It is closed.
    pub fn hear_or_open(&self, key: K, first: (S, Frame)) -> Result<Frames, Unavailable> {
        let mut open = self.open();
        let topics = open.as_mut().ok_or_else(|| Unavailable("live pages are closed".into()))?;
        let topic = topics.entry(key).or_insert_with(|| {
            let (state, frame) = first;
            Topic { state, frames: watch::Sender::new(frame) }
        });
        let frames = topic.frames.subscribe();
        self.wanted.notify_one();
        Ok(frames)
    }

    /// Waits until there is a topic. Only one task may wait.
    pub async fn wanted(&self) {
        while self.open().as_ref().is_none_or(BTreeMap::is_empty) {
            self.wanted.notified().await;
        }
    }

    /// Whether the topic has streams.
    pub fn contains(&self, key: K) -> bool {
        self.open().as_ref().is_some_and(|topics| topics.contains_key(&key))
    }

    /// Up to `max` topics with streams, beginning with the one after `after` and going round. Forgets those without.
    pub fn next(&self, after: Option<K>, max: usize) -> Vec<K> {
        let mut open = self.open();
        let Some(topics) = open.as_mut() else { return Vec::new() };
        topics.retain(|_, topic| !topic.frames.is_closed());
        let Some(after) = after else { return topics.keys().take(max).copied().collect() };
        let later = topics.range((Bound::Excluded(after), Bound::Unbounded));
        later.chain(topics.range(..=after)).take(max).map(|(key, _)| *key).collect()
    }

    /// Takes in what has become of a topic: `change` brings its state up to date, and makes the event that tells of it
    /// where there is something to tell.
    pub fn update(&self, key: K, change: impl FnOnce(&mut S) -> Option<Frame>) {
        let told = {
            let mut open = self.open();
            let Some(topic) = open.as_mut().and_then(|topics| topics.get_mut(&key)) else { return };
            change(&mut topic.state).map(|frame| (topic.frames.clone(), frame))
        };
        // Thousands may be woken: not while everybody else waits for the lock.
        if let Some((frames, frame)) = told {
            frames.send_replace(frame);
        }
    }

    /// Ends the streams of a topic, once they have told its last event.
    pub fn end(&self, key: K) {
        self.open().as_mut().and_then(|topics| topics.remove(&key));
    }

    /// Ends all streams, for good.
    pub fn close(&self) {
        self.open().take();
    }

    fn open(&self) -> MutexGuard<'_, Option<BTreeMap<K, Topic<S>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: &str) -> Frame {
        Frame::new("event", id, "{}")
    }

    fn topics(keys: impl IntoIterator<Item = u32>) -> (Topics<u32, u32>, Vec<Frames>) {
        let topics = Topics::default();
        let frames = keys.into_iter().map(|key| topics.hear_or_open(key, (0, frame("0"))).expect("open"));
        let frames = frames.collect();
        (topics, frames)
    }

    #[test]
    fn an_event_is_written_as_browsers_read_it() {
        let frame = Frame::new("stock", "7", r#"{"available":3}"#);
        assert_eq!(frame.bytes, "id: 7\nevent: stock\ndata: {\"available\":3}\n\n");
    }

    #[test]
    fn streams_of_a_topic_share_the_bytes_and_see_only_the_newest() {
        let (topics, mut streams) = topics([1, 1]);
        streams.push(topics.hear(1).expect("a topic"));
        for id in ["1", "2"] {
            topics.update(1, |_| Some(frame(id)));
        }
        let seen: Vec<_> =
            streams.iter_mut().map(|frames| frames.borrow_and_update().bytes.clone()).collect();
        assert_eq!(seen[0], frame("2").bytes);
        assert!(seen.iter().all(|bytes| bytes.as_ptr() == seen[0].as_ptr()));
    }

    #[test]
    fn a_topic_without_streams_is_forgotten() {
        let (topics, mut streams) = topics([1, 2]);
        streams.pop();
        assert_eq!(topics.next(None, 10), [1]);
        assert!(topics.hear(2).is_none() && !topics.contains(2));
        topics.update(2, |_| panic!("nobody hears of it"));
    }

    #[test]
    fn topics_are_taken_in_turn() {
        let (topics, _streams) = topics(1..=5);
        assert_eq!(topics.next(None, 3), [1, 2, 3]);
        assert_eq!(topics.next(Some(3), 3), [4, 5, 1]);
        assert_eq!(topics.next(Some(5), 9), [1, 2, 3, 4, 5]);
        assert_eq!(topics.next(Some(9), 2), [1, 2]);
    }

    #[tokio::test]
    async fn streams_tell_the_last_event_before_they_end() {
        let (topics, mut streams) = topics([1]);
        topics.update(1, |_| Some(frame("last")));
        topics.end(1);
        let stream = &mut streams[0];
        assert!(stream.changed().await.is_ok());
        assert_eq!(&*stream.borrow_and_update().id, "last");
        assert!(stream.changed().await.is_err());
    }

    #[tokio::test]
    async fn closing_ends_every_stream_and_opens_none() {
        let (topics, mut streams) = topics([1, 2]);
        topics.close();
        for stream in &mut streams {
            assert!(stream.changed().await.is_err());
        }
        assert!(topics.hear_or_open(1, (0, frame("0"))).is_err() && topics.hear(1).is_none());
        assert!(topics.next(None, 10).is_empty());
    }

    #[tokio::test]
    async fn whoever_looks_after_topics_is_woken_by_the_first() {
        let topics = Arc::new(Topics::<u32, u32>::default());
        let waiting = tokio::spawn({
            let topics = Arc::clone(&topics);
            async move { topics.wanted().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let _stream = topics.hear_or_open(1, (0, frame("0"))).expect("open");
        waiting.await.expect("it is woken");
    }
}
