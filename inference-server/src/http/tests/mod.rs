//! The API over real sockets, on a backend whose next token anyone can foretell: `abc` goes on `defg…z`
//! and ends, `ABC` goes round for ever. The test template ends with the last message's content, so that a
//! chat goes on like a completion.

mod bad_input;
mod chat;
mod completions;
mod life;
mod mutation;
mod support;
mod timeouts;
mod tokenize;
