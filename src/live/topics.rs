//! Who is told what: the open streams of a topic share each event, and a topic without streams is forgotten.
//!
//! Streams are woken some hundred at a time. If all of a topic's thousands were woken at once, every step of every sale
//! would queue behind them.

use std::collections::BTreeMap;
use std::iter;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::ports::Unavailable;

/// Streams woken at once, and the pause before the next ones.
const WOKEN_AT_ONCE: usize = 256;
const WAKE_PAUSE: Duration = Duration::from_millis(4);

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
    /// Streams woken since the last pause.
    woken: AtomicUsize,
}

struct Topic<S> {
    state: S,
    newest: Frame,
    /// Each for at most as many streams as are woken at once.
    shards: Vec<watch::Sender<Frame>>,
}

impl<S> Topic<S> {
    fn hear(&mut self) -> Frames {
        let with_room = self.shards.iter().find(|shard| shard.receiver_count() < WOKEN_AT_ONCE);
        if let Some(shard) = with_room {
            return shard.subscribe();
        }
        let (shard, frames) = watch::channel(self.newest.clone());
        self.shards.push(shard);
        frames
    }

    fn is_heard(&mut self) -> bool {
        self.shards.retain(|shard| !shard.is_closed());
        !self.shards.is_empty()
    }
}

impl<K, S> Default for Topics<K, S> {
    fn default() -> Self {
        Self { open: Mutex::new(Some(BTreeMap::new())), wanted: Notify::new(), woken: AtomicUsize::new(0) }
    }
}

impl<K: Ord + Copy, S> Topics<K, S> {
    /// Another stream of a topic that has some already.
    pub fn hear(&self, key: K) -> Option<Frames> {
        self.open().as_mut()?.get_mut(&key).map(Topic::hear)
    }

    /// A stream of a topic, which begins as `first` says unless it has streams already.
    ///
    /// # Errors
    /// It is closed.
    pub fn hear_or_open(&self, key: K, first: (S, Frame)) -> Result<Frames, Unavailable> {
        let mut open = self.open();
        let topics = open.as_mut().ok_or_else(|| Unavailable("live pages are closed".into()))?;
        let topic = topics.entry(key).or_insert_with(|| {
            let (state, newest) = first;
            Topic { state, newest, shards: Vec::new() }
        });
        self.wanted.notify_one();
        Ok(topic.hear())
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

    /// Open streams of all topics.
    pub fn streams(&self) -> usize {
        let shards = |topic: &Topic<S>| topic.shards.iter().map(watch::Sender::receiver_count).sum::<usize>();
        self.open().as_ref().map_or(0, |topics| topics.values().map(shards).sum())
    }

    /// Up to `max` topics with streams, beginning with the one after `after` and going round. Forgets those without.
    pub fn next(&self, after: Option<K>, max: usize) -> Vec<K> {
        let mut open = self.open();
        let Some(topics) = open.as_mut() else { return Vec::new() };
        topics.retain(|_, topic| topic.is_heard());
        let Some(after) = after else { return topics.keys().take(max).copied().collect() };
        let later = topics.range((Bound::Excluded(after), Bound::Unbounded));
        later.chain(topics.range(..=after)).take(max).map(|(key, _)| *key).collect()
    }

    /// Takes in what has become of a topic: `change` brings its state up to date, and makes the event that tells of it
    /// where there is something to tell. Returns when all of its streams have been woken.
    pub async fn update(&self, key: K, change: impl FnOnce(&mut S) -> Option<Frame>) {
        for (shard, frame) in self.changed(key, change) {
            shard.send_replace(frame);
            let woken = shard.receiver_count();
            if self.woken.fetch_add(woken, Ordering::Relaxed) + woken >= WOKEN_AT_ONCE {
                self.woken.store(0, Ordering::Relaxed);
                tokio::time::sleep(WAKE_PAUSE).await;
            }
        }
    }

    /// What has to be told to whom.
    fn changed(
        &self,
        key: K,
        change: impl FnOnce(&mut S) -> Option<Frame>,
    ) -> Vec<(watch::Sender<Frame>, Frame)> {
        let mut open = self.open();
        let Some(topic) = open.as_mut().and_then(|topics| topics.get_mut(&key)) else { return Vec::new() };
        let Some(frame) = change(&mut topic.state) else { return Vec::new() };
        topic.newest = frame.clone();
        topic.shards.iter().cloned().zip(iter::repeat(frame)).collect()
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

    #[tokio::test]
    async fn streams_of_a_topic_share_the_bytes_and_see_only_the_newest() {
        let (topics, mut streams) = topics([1, 1]);
        streams.push(topics.hear(1).expect("a topic"));
        for id in ["1", "2"] {
            topics.update(1, |_| Some(frame(id))).await;
        }
        let seen: Vec<_> =
            streams.iter_mut().map(|frames| frames.borrow_and_update().bytes.clone()).collect();
        assert_eq!(seen[0], frame("2").bytes);
        assert!(seen.iter().all(|bytes| bytes.as_ptr() == seen[0].as_ptr()));
    }

    #[tokio::test(start_paused = true)]
    async fn thousands_are_told_some_hundred_at_a_time() {
        let (topics, mut streams) = topics(iter::repeat_n(1, 2 * WOKEN_AT_ONCE + 1));
        let told = |streams: &[Frames]| streams.iter().filter(|frames| &*frames.borrow().id == "1").count();
        {
            let telling = topics.update(1, |_| Some(frame("1")));
            tokio::pin!(telling);
            for wanted in [WOKEN_AT_ONCE, 2 * WOKEN_AT_ONCE] {
                tokio::select! {
                    biased;
                    () = &mut telling => panic!("it pauses"),
                    () = std::future::ready(()) => {}
                }
                assert_eq!(told(&streams), wanted);
                tokio::time::advance(WAKE_PAUSE).await;
            }
            telling.await;
        }
        assert_eq!(told(&streams), streams.len());
        // Places are used again, and whoever comes later begins with the newest.
        streams.drain(..10);
        streams.extend((0..WOKEN_AT_ONCE).map(|_| topics.hear(1).expect("a topic")));
        assert_eq!(told(&streams), streams.len());
    }

    #[tokio::test]
    async fn a_topic_without_streams_is_forgotten() {
        let (topics, mut streams) = topics([1, 2]);
        streams.pop();
        assert_eq!(topics.next(None, 10), [1]);
        assert!(topics.hear(2).is_none() && !topics.contains(2));
        topics.update(2, |_| panic!("nobody hears of it")).await;
    }

    #[test]
    fn topics_are_taken_in_turn() {
        let (topics, _streams) = topics(1..=5);
        assert_eq!(topics.next(None, 3), [1, 2, 3]);
        assert_eq!(topics.next(Some(3), 3), [4, 5, 1]);
        assert_eq!(topics.next(Some(5), 9), [1, 2, 3, 4, 5]);
        assert_eq!(topics.next(Some(9), 2), [1, 2]);
        assert_eq!(topics.streams(), 5);
    }

    #[tokio::test]
    async fn streams_tell_the_last_event_before_they_end() {
        let (topics, mut streams) = topics([1]);
        topics.update(1, |_| Some(frame("last"))).await;
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
