//! A stream as a list of steps.

use bytes::Bytes;

use super::Behaviour;
use super::asked::{Asked, Method};
use super::bedrock::{self, Damage};
use super::error::Refusal;
use super::model::Usage;
use super::script::Script;

/// Pieces of text before a stream breaks.
pub(super) const BEFORE_BREAK: usize = 2;

/// One step of a stream.
pub(super) enum Step {
    Send(Bytes),
    /// Wait for the test.
    Gate,
    Pause,
    /// What was sent so far means these tokens.
    Count(Usage),
    /// Break the connection.
    Break,
}

/// What a stream of `asked` does.
pub(super) fn steps(asked: &Asked, script: &Script) -> Vec<Step> {
    let reported = if script.reports {
        Step::Count(script.usage)
    } else {
        Step::Count(Usage {
            visible: script.usage.visible,
            reasoning: script.usage.reasoning,
            ..Usage::default()
        })
    };
    let broken =
        Step::Count(Usage { uncached: script.told, visible: BEFORE_BREAK as u64, ..Usage::default() });
    let send = |event: &String| Step::Send(bedrock::framed(asked.method, event));
    let framed = || script.events.iter().flat_map(|event| bedrock::framed(asked.method, event));
    let bytes = || framed().map(|byte| Step::Send(Bytes::from(vec![byte])));
    let begun = || script.begun().map(send);
    let all = || script.events.iter().map(send);
    let luckless = |first| {
        let refusal = Refusal { code: Some("server_error"), ..Refusal::new(503, "out of luck") };
        Step::Send(refusal.frame(asked, first))
    };
    match asked.behaviour {
        Behaviour::Gated | Behaviour::Told => {
            all().flat_map(|step| [Step::Gate, step]).chain([reported]).collect()
        }
        Behaviour::Paced => all().flat_map(|step| [Step::Pause, step]).chain([reported]).collect(),
        Behaviour::Drip => bytes().chain([reported]).collect(),
        Behaviour::SlowDrip => bytes().flat_map(|step| [Step::Gate, step]).chain([reported]).collect(),
        Behaviour::Stall => {
            let rest = script.events.iter().skip(script.begun().count()).map(send);
            begun().chain([Step::Gate]).chain(rest).chain([reported]).collect()
        }
        Behaviour::Cut => begun().chain([Step::Break, broken]).collect(),
        Behaviour::HalfFrame if is_framed(asked.method) => {
            begun().chain([wrong(asked.method, Damage::Half), broken]).collect()
        }
        Behaviour::Damaged if is_framed(asked.method) => {
            let rest = script.events.iter().skip(script.begun().count()).map(send);
            begun().chain([wrong(asked.method, Damage::Flipped), broken]).chain(rest).collect()
        }
        Behaviour::Truncated | Behaviour::HalfFrame => begun().chain([broken]).collect(),
        Behaviour::ErrorInStream => begun().chain([luckless(false), broken]).collect(),
        Behaviour::ErrorFirst => vec![luckless(true)],
        Behaviour::InvalidJson | Behaviour::Damaged => begun().chain([half(asked.method), broken]).collect(),
        _ => all().chain([reported]).collect(),
    }
}

fn is_framed(method: Method) -> bool {
    matches!(method, Method::InvokeStream | Method::ConverseStream)
}

fn wrong(method: Method, damage: Damage) -> Step {
    Step::Send(bedrock::damaged(method, damage))
}

/// Half an event.
fn half(method: Method) -> Step {
    if is_framed(method) {
        return wrong(method, Damage::HalfJson);
    }
    let half: &'static [u8] = match method {
        Method::Messages | Method::StreamRawPredict => b"event: content_block_delta\ndata: {\"half\":\n\n",
        Method::Responses => b"event: response.output_text.delta\ndata: {\"half\":\n\n",
        Method::StreamArray => b",{\"half\":]",
        _ => b"data: {\"half\":\n\n",
    };
    Step::Send(Bytes::from_static(half))
}
