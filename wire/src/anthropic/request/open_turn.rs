//! The model's turn that a request goes on with: a loop of tool calls whose results came back, or words begun for it.
//!
//! Such a turn has one mode of thinking from its beginning to its end. With thinking on, Anthropic refuses one that
//! does not begin with thinking ("Expected `thinking` or `redacted_thinking`"), and with thinking off one that holds
//! any. Clients can't know: another provider began the loop, or they keep no thinking. So thinking is off for the rest
//! of such a loop, and the request works. Adaptive thinking demands neither.

use super::ThinkingConfig;
use super::write::Joined;
use crate::anthropic::block::Block;
use crate::anthropic::{ModelProfile, ThinkingForm};
use crate::canonical::{Field, Losses, Role};

/// Brings `thinking` and the turn that is under way into agreement, and reports what had to go.
pub(super) fn settle(
    turns: &mut Vec<Joined>,
    thinking: &mut Option<ThinkingConfig>,
    profile: &ModelProfile,
    losses: &mut Losses,
) {
    let start = open_turn(turns);
    let Some(first) = turns.get(start) else { return };
    let mut mode = Mode::of(thinking.as_ref(), profile);
    if mode == Mode::On && !first.blocks.first().is_some_and(|(_, block)| thinks(block)) {
        losses.waive(Field::Thinking.name(losses.origin()));
        *thinking = Some(ThinkingConfig { kind: "disabled".to_owned(), ..ThinkingConfig::default() });
        mode = Mode::Off;
    }
    if mode == Mode::Off {
        for turn in turns.iter_mut().skip(start) {
            turn.blocks.retain(|(path, block)| {
                let goes = thinks(block);
                if goes {
                    losses.waive(path.clone());
                }
                !goes
            });
        }
        turns.retain(|turn| !turn.blocks.is_empty());
    }
}

/// How Anthropic looks at a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The turn begins with thinking.
    On,
    /// The turn holds none.
    Off,
    /// Either way.
    Free,
}

impl Mode {
    fn of(thinking: Option<&ThinkingConfig>, profile: &ModelProfile) -> Self {
        match (thinking.map(|thinking| thinking.kind.as_str()), profile.thinking) {
            (Some("enabled"), _) => Self::On,
            (Some("disabled"), _) | (None, ThinkingForm::Budget) => Self::Off,
            // Whether such a model thinks where nothing is said, its name alone tells.
            (Some(_), _) | (None, ThinkingForm::Adaptive) => Self::Free,
        }
    }
}

/// Where the turn that is under way begins; past the end where the person spoke last.
fn open_turn(turns: &[Joined]) -> usize {
    let goes_on = |turn: &&Joined| match turn.role {
        Role::Assistant | Role::System | Role::Developer => true,
        Role::User => turn.blocks.iter().any(|(_, block)| matches!(block, Block::ToolResult(_))),
    };
    let length = turns.iter().rev().take_while(goes_on).count();
    let tail = turns.len() - length;
    let model = turns.iter().skip(tail).position(|turn| turn.role == Role::Assistant);
    model.map_or(turns.len(), |model| tail + model)
}

fn thinks(block: &Block) -> bool {
    match block {
        Block::Thinking(_) | Block::RedactedThinking(_) => true,
        Block::Plain(_) | Block::ToolUse(_) | Block::ToolResult(_) => false,
    }
}
