#![no_main]

// libFuzzer's hook ends the process at a panic that the server catches; what is not caught still ends it.
libfuzzer_sys::fuzz_target!(init: drop(std::panic::take_hook()), |bytes: &[u8]| {
    weighbridge_inference_server::fuzzing::tokenizer_json(bytes);
});
