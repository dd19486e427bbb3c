use std::collections::HashMap;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

/// How long what happens to children waits for more of the kind: a pod that starts is a dozen events, most of them in swarms, and
/// each swarm is one look.
const GATHER: Duration = Duration::from_millis(200);

/// Something to look at.
pub enum Look<K: Resource> {
    /// People want something of it, or have waited for it.
    Now(ObjectRef<K>),
    /// Something has happened to its children, or to its status.
    Soon(ObjectRef<K>),
}

/// What a queue names, each that may wait [`GATHER`] after it was named first, and once for all that named it meanwhile.
pub fn gathered<K>(queue: mpsc::Receiver<Look<K>>) -> impl Stream<Item = ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let waiting = Waiting { times: DelayQueue::new(), keys: HashMap::new() };
    stream::unfold((queue, waiting), |(mut queue, mut waiting)| async move {
        let next = waiting.next(&mut queue).await?;
        Some((next, (queue, waiting)))
    })
}

struct Waiting<K: Resource<DynamicType = ()>> {
    times: DelayQueue<ObjectRef<K>>,
    keys: HashMap<ObjectRef<K>, Key>,
}

impl<K: Resource<DynamicType = ()> + Clone> Waiting<K> {
    /// None when nobody names anything any more.
    async fn next(&mut self, queue: &mut mpsc::Receiver<Look<K>>) -> Option<ObjectRef<K>> {
        loop {
            tokio::select! {
                look = queue.recv() => match look? {
                    Look::Now(object) => {
                        if let Some(key) = self.keys.remove(&object) {
                            self.times.remove(&key);
                        }
                        return Some(object);
                    }
                    Look::Soon(object) => {
                        let Waiting { times, keys } = self;
                        keys.entry(object).or_insert_with_key(|object| times.insert(object.clone(), GATHER));
                    }
                },
                Some(due) = self.times.next(), if !self.times.is_empty() => {
                    let object = due.into_inner();
                    self.keys.remove(&object);
                    return Some(object);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use weighbridge_crds::ModelDeployment;

    use super::*;

    fn model(name: &str) -> ObjectRef<ModelDeployment> {
        ObjectRef::new(name).within("n")
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_together_is_one_look_and_what_people_want_does_not_wait() {
        let (sender, queue) = mpsc::channel(16);
        let mut looks = Box::pin(gathered(queue));
        let began = Instant::now();
        for look in
            [Look::Soon(model("a")), Look::Soon(model("a")), Look::Soon(model("b")), Look::Now(model("c"))]
        {
            assert!(sender.send(look).await.is_ok());
        }
        assert_eq!((looks.next().await, began.elapsed()), (Some(model("c")), Duration::ZERO));
        // A look that comes at once is the one that the others would have been.
        assert!(sender.send(Look::Now(model("b"))).await.is_ok());
        assert_eq!((looks.next().await, began.elapsed()), (Some(model("b")), Duration::ZERO));
        assert_eq!(looks.next().await, Some(model("a")));
        assert!(began.elapsed() >= GATHER && began.elapsed() < GATHER * 2);
        // What happens after a look is another one.
        assert!(sender.send(Look::Soon(model("a"))).await.is_ok());
        assert_eq!(looks.next().await, Some(model("a")));
        drop(sender);
        assert_eq!(looks.next().await, None);
    }
}
