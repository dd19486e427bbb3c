#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weighbridge_inference_server::fuzzing::gguf(bytes));
