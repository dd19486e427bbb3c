use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Who has to have signed the weights, by OpenSSF Model Signing with a key.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.bundle.startsWith('/') && !self.bundle.matches('(^|/)\\\\.\\\\.?(/|$)') && !self.bundle.contains('\\\\')")
        .message("signature.bundle is a path from the folder of the source's file, with no '.' or '..': write model.sig")
        .field_path(".bundle"),
    validation = Rule::new("self.publicKey.trim().startsWith('-----BEGIN PUBLIC KEY-----') && self.publicKey.trim().endsWith('-----END PUBLIC KEY-----')")
        .message("signature.publicKey is a public key in PEM, as `openssl pkey -pubout` prints it; certificates and keyless signatures are not verified: sign with a key")
        .field_path(".publicKey")
)]
pub struct Signature {
    /// Where the signature is, as `model_signing sign key` writes it: its path from the folder of the source's file, on the same
    /// server, or in the source where that is a folder, such as `model.sig`.
    #[schemars(length(min = 1, max = 512))]
    pub bundle: String,
    /// Public key of whoever has to have signed, in PEM: on the curve P-256 or P-384, or of Ed25519.
    #[schemars(length(min = 1, max = 1024))]
    pub public_key: String,
}
