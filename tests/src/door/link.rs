//! A network that a seed makes bad: it splits what passes at every odd place, refuses connections, closes and resets them in
//! the middle of a request or of an answer. Nothing in it waits: what happens is told by bytes, not by time.

use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// A way to `to`, as bad as its seed says.
pub struct Link {
    /// Its near end.
    pub address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

/// What becomes of one connection.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It lasts.
    Whole,
    /// It is closed as soon as it is made.
    Refused,
    /// It ends after so many bytes towards the far end.
    CutThere(usize),
    /// It ends after so many bytes towards the near end.
    CutBack(usize),
}

/// One connection's, drawn from the seed and its number.
#[derive(Clone, Copy, Debug)]
struct Plan {
    fate: Fate,
    /// Most bytes that pass at once.
    piece: usize,
    /// Whether its end is a reset.
    reset: bool,
}

impl Plan {
    fn draw(seed: u64, connection: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9).wrapping_add(connection));
        let fate = match random.random_range(0..10) {
            0 => Fate::Refused,
            1 | 2 => Fate::CutThere(random.random_range(1..600)),
            3..=5 => Fate::CutBack(random.random_range(1..1600)),
            _ => Fate::Whole,
        };
        let pieces = [1, 7, 100, 65_536];
        let piece = pieces.get(random.random_range(0..pieces.len())).copied().unwrap_or(1);
        Self { fate, piece, reset: random.random() }
    }
}

impl Link {
    /// Opens one.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn start(to: SocketAddr, seed: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            for connection in 0.. {
                let Ok((near, _)) = listener.accept().await else { return };
                tokio::spawn(carry(near, to, Plan::draw(seed, connection)));
            }
        });
        Ok(Self { address, _accepting: AbortOnDropHandle::new(accepting) })
    }
}

/// Carries one connection to its fate. Errors are how connections end.
async fn carry(near: TcpStream, to: SocketAddr, plan: Plan) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    for end in [&near, &far] {
        end.set_nodelay(true).ok();
        if plan.reset {
            // A connection that is closed with this set is reset (tcp(7)).
            end.set_zero_linger().ok();
        }
    }
    let (there, back) = match plan.fate {
        Fate::Refused => return,
        Fate::Whole => (usize::MAX, usize::MAX),
        Fate::CutThere(bytes) => (bytes, usize::MAX),
        Fate::CutBack(bytes) => (usize::MAX, bytes),
    };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    // Whichever direction ends, the connection does.
    tokio::select! {
        () = pass(near_in, far_out, there, plan.piece) => {}
        () = pass(far_in, near_out, back, plan.piece) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, most: usize, piece: usize) {
    let mut buffer = vec![0; piece];
    let mut left = most;
    while left > 0 {
        let wanted = piece.min(left);
        let Some(space) = buffer.get_mut(..wanted) else { return };
        let Ok(read @ 1..) = from.read(space).await else { return };
        let Some(read) = buffer.get(..read) else { return };
        if to.write_all(read).await.is_err() {
            return;
        }
        left -= read.len();
        // The other side reads this piece before it sees the next.
        tokio::task::yield_now().await;
    }
}
