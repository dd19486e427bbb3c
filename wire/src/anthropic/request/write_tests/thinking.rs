//! Thinking: asked for, replayed, and left out where it has no place.

use serde_json::{Value, json};

use super::*;
use crate::anthropic::{ModelProfile, ThinkingForm};
use crate::canonical::{
    Amount, Dialect, Effort, Part, Provider, RedactedThinking, Request, Role, Signature, Text, Thinking,
    ThinkingRequest, ThinkingShown, ToolCall, ToolChoice as Choice, Unsupported,
};

const PROFILE: ModelProfile = ModelProfile {
    default_max_tokens: Some(100),
    thinking: ThinkingForm::Adaptive,
    sampling: true,
    system_turns: true,
};

#[test]
fn thinking_is_replayed_before_the_call_byte_for_byte() {
    let own = |data: &str| Some(Signature { provider: Provider::Anthropic, data: data.into() });
    let request = chat(vec![
        turn(Role::User, 0, vec![Part::text("a")]),
        turn(
            Role::Assistant,
            1,
            vec![
                Part::Thinking(Thinking {
                    text: String::new(),
                    signature: own("EqR+/="),
                    id: Some("rs".into()),
                }),
                Part::RedactedThinking(RedactedThinking {
                    provider: Provider::Anthropic,
                    data: "x+/=".into(),
                }),
                Part::Thinking(Thinking { text: " b\n".into(), signature: own("s"), id: None }),
                Part::text("t"),
                call("1"),
            ],
        ),
    ]);
    assert_eq!(
        written(&request)["messages"][1]["content"],
        json!([
            {"type": "thinking", "thinking": "", "signature": "EqR+/="},
            {"type": "redacted_thinking", "data": "x+/="},
            {"type": "thinking", "thinking": " b\n", "signature": "s"},
            {"type": "text", "text": "t"},
            {"type": "tool_use", "id": "1", "name": "f", "input": {}},
        ])
    );
}

const BUDGET: ModelProfile = ModelProfile { thinking: ThinkingForm::Budget, ..PROFILE };

/// A loop of two calls, of which the first was made by `first`; the results are here, and thinking is asked for.
fn tool_loop(first: Vec<Part>, last: Role, amount: Amount) -> Request {
    let mut turns = vec![
        turn(Role::User, 0, vec![Part::text("q")]),
        turn(Role::Assistant, 1, first),
        turn(Role::User, 2, vec![result("1", "x")]),
        turn(Role::Assistant, 3, vec![call("2")]),
        turn(Role::User, 4, vec![result("2", "y")]),
    ];
    if last == Role::Assistant {
        turns.push(turn(Role::Assistant, 5, vec![Part::text("So")]));
    }
    let mut request = chat(turns);
    request.sampling.max_output_tokens = Some(10_000);
    request.thinking = Some(ThinkingRequest { amount: Some(amount), shown: None });
    request
}

fn thought(signature: Option<Provider>) -> Part {
    let signature = signature.map(|provider| Signature { provider, data: "s".into() });
    Part::Thinking(Thinking { text: "t".into(), signature, id: None })
}

/// "Expected `thinking` or `redacted_thinking`, but found `tool_use`": anomalyco/opencode #3077, Kilo-Org/kilocode #5219.
#[test]
fn a_loop_that_another_provider_began_goes_on_at_anthropic_without_thinking() {
    let written = |request: &Request, profile| {
        let written = from_canonical(request, Unsupported::Refuse, profile).expect("not refused");
        (serde_json::to_value(written.message).expect("writes"), written.dropped)
    };
    for last in [Role::User, Role::Assistant] {
        for first in [
            vec![call("1")],
            vec![thought(None), call("1")],
            vec![thought(Some(Provider::OpenAi)), Part::text("a"), call("1")],
        ] {
            let request = tool_loop(first, last, Amount::Effort(Effort::Low));
            let (body, dropped) = written(&request, &BUDGET);
            assert_eq!(body["thinking"], json!({"type": "disabled"}));
            assert_eq!(dropped.last().map(String::as_str), Some("reasoning_effort"));
            let (body, dropped) = written(&request, &PROFILE);
            assert_eq!(body["thinking"], json!({"type": "adaptive"}), "which demands nothing");
            assert!(!dropped.contains(&"reasoning_effort".to_owned()));
        }
    }
    // A loop of Anthropic's own thinks on: there is no thinking before its later calls.
    let own = vec![thought(Some(Provider::Anthropic)), call("1")];
    let (body, dropped) = written(&tool_loop(own, Role::User, Amount::Budget(2_000)), &BUDGET);
    assert_eq!((&body["thinking"]["type"], dropped.len()), (&json!("enabled"), 0));
    // And where the person has spoken since, the loop is over.
    let mut over = tool_loop(vec![call("1")], Role::User, Amount::Budget(2_000));
    over.turns.push(turn(Role::Assistant, 5, vec![Part::text("Done.")]));
    over.turns.push(turn(Role::User, 6, vec![Part::text("And now?")]));
    assert_eq!(written(&over, &BUDGET).0["thinking"]["type"], "enabled");
}

/// "When thinking is disabled, an `assistant` message in the final position cannot contain `thinking`":
/// tailcallhq/forgecode #1853, Kilo-Org/kilocode #4631.
#[test]
fn a_loop_that_began_with_thinking_goes_on_without_it_where_thinking_is_off() {
    let redacted =
        || Part::RedactedThinking(RedactedThinking { provider: Provider::Anthropic, data: "x".into() });
    let first = || vec![thought(Some(Provider::Anthropic)), redacted(), call("1")];
    let off = tool_loop(first(), Role::User, Amount::Off);
    let mut unsaid = tool_loop(first(), Role::User, Amount::Off);
    unsaid.thinking = None;
    for (request, profile) in [(&off, &BUDGET), (&off, &PROFILE), (&unsaid, &BUDGET)] {
        let written = from_canonical(request, Unsupported::Refuse, profile).expect("not refused");
        let body = serde_json::to_value(written.message).expect("writes");
        assert_eq!(body["messages"][1]["content"][0]["type"], "tool_use", "{body}");
        assert_eq!(written.dropped, ["messages[1]", "messages[1]"]);
    }
    // A model that decides itself may think where nothing is said.
    assert_eq!(written(&unsaid)["messages"][1]["content"][0]["type"], "thinking");
    // What came before the person spoke stays, and is cached as it was.
    let mut over = off;
    over.turns.push(turn(Role::User, 5, vec![Part::text("And now?")]));
    over.turns.remove(4);
    over.turns.remove(3);
    over.turns[2].parts = vec![Part::text("b")];
    assert_eq!(written(&over)["messages"][1]["content"][0]["type"], "thinking");
}

#[test]
fn what_cannot_go_with_thinking_is_refused_by_name() {
    let thinks = |change: &dyn Fn(&mut Request)| {
        asked(|request| {
            request.thinking = Some(ThinkingRequest { amount: Some(Amount::Budget(2_000)), shown: None });
            request.sampling.max_output_tokens = Some(10_000);
            request.tools = vec![function("f")];
            change(request);
        })
    };
    for profile in [&BUDGET, &PROFILE] {
        let sampling = |change: &dyn Fn(&mut crate::canonical::Sampling)| {
            thinks(&|request| change(&mut request.sampling))
        };
        assert_eq!(lost(&sampling(&|sampling| sampling.temperature = Some(0.7)), profile), "temperature");
        assert_eq!(lost(&sampling(&|sampling| sampling.top_p = Some(0.9)), profile), "top_p");
        assert_eq!(lost(&sampling(&|sampling| sampling.top_k = Some(40)), profile), "top_k");
        let fits = sampling(&|sampling| (sampling.temperature, sampling.top_p) = (Some(1.0), Some(0.95)));
        assert_eq!(written_for(&fits, profile)["top_p"], 0.95_f32);
    }
    for choice in [Choice::Required, Choice::Function("f".into())] {
        let forced = thinks(&|request| request.tool_choice = Some(choice.clone()));
        assert_eq!(lost(&forced, &BUDGET), "reasoning_effort");
        assert_eq!(written_for(&forced, &PROFILE)["thinking"]["type"], "adaptive");
    }
}

#[test]
fn thinking_of_others_is_not_shown_to_anthropic() {
    let gemini = || Some(Signature { provider: Provider::Gemini, data: "c2ln".into() });
    let call = ToolCall { id: "1".into(), name: "f".into(), signature: gemini(), ..ToolCall::default() };
    for (part, what) in [
        (Part::Thinking(Thinking { text: "t".into(), signature: gemini(), id: None }), ""),
        (Part::Thinking(Thinking { text: "t".into(), signature: None, id: None }), ""),
        (Part::RedactedThinking(RedactedThinking { provider: Provider::OpenAi, data: "x".into() }), ""),
        (Part::ToolCall(call), ".signature"),
        (Part::Text(Text { signature: gemini(), ..Text::default() }), ".signature"),
    ] {
        let mut request = chat(vec![turn(Role::Assistant, 3, vec![Part::text("a"), part])]);
        request.origin = Dialect::Gemini;
        let written = from_canonical(&request, Unsupported::Refuse, &PROFILE).expect("not refused");
        assert_eq!(written.dropped, [format!("contents[3].parts[1]{what}")]);
        let body = serde_json::to_string(&written.message).expect("writes");
        assert!(!body.contains("c2ln") && !body.contains(r#""text":"""#), "{body}");
    }
}

#[test]
fn thinking_is_asked_for_as_the_model_takes_it() {
    let budget = ModelProfile { thinking: ThinkingForm::Budget, ..PROFILE };
    let with = |amount, shown, max_tokens| {
        asked(|request| {
            request.thinking = Some(ThinkingRequest { amount, shown });
            request.sampling.max_output_tokens = Some(max_tokens);
        })
    };
    for (amount, shown, profile, thinking, effort) in [
        (Some(Amount::Off), None, PROFILE, json!({"type": "disabled"}), Value::Null),
        (Some(Amount::Dynamic), None, PROFILE, json!({"type": "adaptive"}), Value::Null),
        (Some(Amount::Effort(Effort::Minimal)), None, PROFILE, json!({"type": "adaptive"}), json!("low")),
        (Some(Amount::Budget(16_384)), None, PROFILE, json!({"type": "adaptive"}), json!("high")),
        (
            Some(Amount::Effort(Effort::Max)),
            Some(ThinkingShown::Detailed),
            PROFILE,
            json!({"type": "adaptive", "display": "summarized"}),
            json!("max"),
        ),
        (
            Some(Amount::Budget(2_000)),
            Some(ThinkingShown::Hidden),
            budget,
            json!({"type": "enabled", "budget_tokens": 2000, "display": "omitted"}),
            Value::Null,
        ),
        (
            Some(Amount::Effort(Effort::High)),
            None,
            budget,
            json!({"type": "enabled", "budget_tokens": 9_999}),
            Value::Null,
        ),
        (Some(Amount::Budget(0)), None, budget, json!({"type": "disabled"}), Value::Null),
    ] {
        let body = written_for(&with(amount, shown, 10_000), &profile);
        assert_eq!(body["thinking"], thinking, "{amount:?}");
        assert_eq!(body["output_config"]["effort"], effort, "{amount:?}");
    }
    let nothing = with(None, None, 10_000);
    assert!(written_for(&nothing, &PROFILE).get("thinking").is_none(), "nobody asked for it");
    for request in [
        with(Some(Amount::Budget(512)), None, 10_000),
        with(Some(Amount::Budget(10_000)), None, 10_000),
        with(Some(Amount::Effort(Effort::Low)), None, 1_000),
        with(Some(Amount::Dynamic), None, 10_000),
    ] {
        assert_eq!(lost(&request, &budget), "reasoning_effort");
    }
}
