//! What kind of server has a source, in the words of whoever has to mend what it refuses.

/// Kinds of servers that sources come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of `hf:`.
    Hub,
    /// Of `https:`.
    Web,
    /// Of `s3:`.
    S3,
    /// Of `gs:`.
    Gcs,
    /// Of `oci:`.
    Registry,
}

impl Kind {
    /// 401, and nothing was shown.
    pub(in super::super) fn unnamed(self) -> &'static str {
        match self {
            Kind::Hub => {
                "hub.tokenSecret: the hub wants a token (401): the repository is gated, private or does not exist; set \
                 hub.tokenSecret or HF_TOKEN, and check source"
            }
            Kind::S3 | Kind::Gcs => {
                "storage.credentialsSecret: the bucket wants to know who asks (401): name a Secret there, or check source"
            }
            Kind::Registry => {
                "storage.credentialsSecret: the registry lets nobody in who is unknown (401): the repository is private or does \
                 not exist; name a Secret with .dockerconfigjson there, and check source"
            }
            Kind::Web => {
                "storage.credentialsSecret: the server wants to know who asks (401): name a Secret with the key token there, or \
                 check source"
            }
        }
    }

    /// 401, and something was shown.
    pub(in super::super) fn refused(self) -> &'static str {
        match self {
            Kind::Hub => {
                "hub.tokenSecret: the hub refused the token (401): check the Secret behind hub.tokenSecret, or HF_TOKEN"
            }
            Kind::S3 | Kind::Gcs => {
                "storage.credentialsSecret: the server did not take what the Secret holds (401): check its keys"
            }
            Kind::Registry => {
                "storage.credentialsSecret: the registry did not take the login of the Secret's .dockerconfigjson (401): check it, \
                 and source"
            }
            Kind::Web => {
                "storage.credentialsSecret: the server refused the token (401): check the key token of the Secret"
            }
        }
    }

    /// 403.
    pub(in super::super) fn forbidden(self) -> &'static str {
        match self {
            Kind::Hub => {
                "hub.tokenSecret: this token may not read the repository (403): ask for access or accept its licence on the hub, \
                 or use another token"
            }
            Kind::S3 => {
                "storage.credentialsSecret: the bucket forbids the object (403): the key is wrong or may not read it, or there is no \
                 such object and who asks may not list the bucket; check the Secret, storage.region and source"
            }
            Kind::Gcs => {
                "storage.credentialsSecret: the bucket forbids the object (403): name a Secret there whose service account may read \
                 it, or check source"
            }
            Kind::Registry => {
                "storage.credentialsSecret: the registry forbids the repository (403): name a Secret there whose login may read it, or \
                 check source"
            }
            Kind::Web => {
                "storage.credentialsSecret: the server forbids the file (403): name a Secret there whose token may read it, or \
                 check source"
            }
        }
    }

    /// 404.
    pub(in super::super) fn missing(self) -> &'static str {
        match self {
            Kind::Hub => {
                "source: the hub has no such repository or file (404): check organisation, repository and file name"
            }
            Kind::S3 | Kind::Gcs => "source: there is no such bucket or object (404): check both names",
            Kind::Registry => {
                "source: the registry has no such repository, tag or digest (404): check registry, repository and what follows"
            }
            Kind::Web => "source: the server has no such file (404): check host and path",
        }
    }

    /// The field of `openWeights` that says who asks.
    pub(in super::super) fn access_field(self) -> &'static str {
        match self {
            Kind::Hub => "hub.tokenSecret",
            Kind::Web | Kind::S3 | Kind::Gcs | Kind::Registry => "storage.credentialsSecret",
        }
    }

    /// The field of `openWeights` that says where the server is.
    pub(in super::super) fn address_field(self) -> &'static str {
        match self {
            Kind::Hub => "hub.endpoint",
            Kind::Web => "source",
            Kind::S3 | Kind::Gcs | Kind::Registry => "storage.endpoint",
        }
    }
}
