/// Makes the reasons, with what each means and what to do about it.
macro_rules! reasons {
    ($($name:ident, $meaning:literal, $remedy:literal;)*) => {
        /// Why a condition is as it is. The string is the API; the message beside it is for people.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The reason as written into the condition.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Reason::$name => stringify!($name),)*
                }
            }

            /// The reason that a condition has as `word`; none where another version wrote it.
            pub fn named(word: &str) -> Option<Reason> {
                Reason::ALL.iter().copied().find(|reason| reason.as_str() == word)
            }

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Reason::$name => $meaning,)*
                }
            }

            /// What to do about it; empty where all is well.
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Reason::$name => $remedy,)*
                }
            }
        }
    };
}

reasons! {
    Valid,
        "Nothing is wrong with the spec.",
        "";
    InvalidSpec,
        "The spec contradicts itself or says something that is not served.",
        "The message names the field and what to write instead; apply that. What served before goes on serving meanwhile.";
    ResourceProfileNotFound,
        "`resources.profile` names no ResourceProfile.",
        "Create the ResourceProfile, or name one that `kubectl get rprof` lists.";
    ProviderNotFound,
        "`external.provider` names no ExternalProvider in this namespace.",
        "Create the ExternalProvider in the namespace of the model, or name one that `kubectl get xprov` lists.";
    ModelCacheNotFound,
        "`openWeights.cache` names no ModelCache in this namespace.",
        "Create the ModelCache in the namespace of the model, or name one that `kubectl get mcache` lists.";
    SecretNotFound,
        "The Secret, or the key inside it, is missing.",
        "Create the Secret, or the key inside it, that the message names. It is looked for again within a minute.";
    SecretsForbidden,
        "The operator may not read Secrets in this namespace.",
        "Add the namespace to the chart's `operator.secretNamespaces`, or leave that empty for every namespace. It is tried again within a minute.";
    ChildNotOwned,
        "An object with the name of a child exists and belongs to somebody else.",
        "Delete or rename the object that the message names, or rename the model: nothing of others is ever taken over.";
    ChildRefused,
        "The apiserver refused a child: an admission policy, a quota, or missing rights of the operator.",
        "The message has the apiserver's words: lift the quota or the policy, or give the operator's ClusterRole what it lacks.";
    PodsRefused,
        "The apiserver refused a pod of a Deployment: a quota or an admission policy.",
        "The message has the apiserver's words: raise the ResourceQuota or the LimitRange of the namespace, or ask for less in the ResourceProfile.";
    ClaimNotReady,
        "The PersistentVolumeClaim that the source names is missing or has no volume.",
        "`kubectl get pvc` in the namespace: create the claim, or see with `kubectl describe pvc` why it is not bound.";
    ContainerRefused,
        "The kubelet could not make the container: a key or a mount is missing.",
        "The message has the kubelet's words, mostly of a Secret, a key in it or a volume that is missing: create it, and the pod goes on.";
    PodsScheduled,
        "All pods have a node.",
        "";
    InsufficientCapacity,
        "The scheduler found no node, or the GPUs of the profile do not hold the model.",
        "The message has the scheduler's words, or the arithmetic: add a node, free one, or name a ResourceProfile that fits; take more GPUs by `resources.gpus`, or lower `engine.contextLength`. With no spare GPU, an old revision holds the card until the new one is ready, unless `rollout.strategy` is `Replace`.";
    ImagePull,
        "An image could not be pulled.",
        "The message has the image and the words of the registry: correct `images.registry` and `images.tag` of the chart, or put the pull Secret into this namespace.";
    DownloadFailed,
        "The weights could not be fetched.",
        "The message has the server's words: correct `source`, `revision` or the token, or give the pods a way to the server. The container tries again by itself.";
    DigestMismatch,
        "The weights are not the pinned ones.",
        "The file is not the pinned one: correct `digest` if the file was changed on purpose, else find out who changed it. No byte of it was served.";
    NoSpace,
        "The claim of a ModelCache has no room for the weights.",
        "Raise `claim.size`, or lower `maxSize` below it so that what nobody uses goes; then it is fetched again by itself.";
    ArtifactHeld,
        "The ModelCache holds the weights.",
        "";
    SignatureInvalid,
        "The weights are not signed by whom `signature` names.",
        "The message has what is wrong: correct `signature`, sign the model anew, or find out who changed it. No byte of it was served.";
    OutOfMemory,
        "The kernel or the engine ran out of memory.",
        "Name a ResourceProfile with more memory, or lower `engine.contextLength` or `engine.maxSequences`.";
    CrashLoop,
        "The container ends and is started again.",
        "The message has the engine's last words; `kubectl logs POD --previous` has the rest.";
    NodeSilent,
        "The node of a pod has stopped reporting: its kubelet ended, or nothing reaches it.",
        "`kubectl describe node NAME`, for the node in the message. If it comes back, so does the pod; if not, Kubernetes makes another pod after five minutes, and at once where the node is deleted.";
    Progressing,
        "Pods are being made, or held back by a queue, or weights loaded.",
        "Wait. Weights that are fetched or large take minutes; the message counts the pods, and says where a scheduling gate, such as a queue's, holds them back.";
    WaitingForOldPods,
        "`rollout.strategy` is `Replace`, and pods of an old revision are not gone yet; the current one is made then.",
        "Wait: open streams have `drainTimeout` to finish. A pod whose node is lost stays until `kubectl delete pod NAME --force`; the message names the pods.";
    RolloutComplete,
        "The revision that the spec asks for has every request.",
        "";
    CanaryProgressing,
        "A revision is on trial beside the one that runs: its pods are made, it is measured, or it is promoted or withdrawn.",
        "Wait: `status.rollout` has the step. `weighbridge promote NAME` passes the step, `weighbridge rollback NAME` ends the trial.";
    CanaryPaused,
        "A step of a trial is over, and waits for a person, or for enough requests to tell.",
        "`weighbridge promote NAME` goes on with the next step, `weighbridge rollback NAME` ends the trial. Where requests are few, lower `abort.minRequests` or lengthen `pause`.";
    RolloutAborted,
        "A revision on trial was worse than the one that runs, which has every request again.",
        "The message has the figures that decided, and the log of its pods is gone with them: `weighbridge rollback NAME` writes the spec that runs, or apply a better one. The same is not tried again; `weighbridge promote NAME --all` takes it all the same.";
    ScaledToZero,
        "`spec.replicas` is 0.",
        "Nothing, where it is meant to sleep: `kubectl scale mdep NAME --replicas=1` wakes it.";
    Suspended,
        "`spec.suspend` is true.",
        "Nothing, where it is meant to be out of service: `spec.suspend: false` brings it back as it was.";
    NotSuspended,
        "`spec.suspend` is not true.",
        "";
    EngineAnswering,
        "The pods of the current revision answer.",
        "";
    Routed,
        "Every ready gateway sends calls to the current revision.",
        "";
    AwaitingGateways,
        "A ready gateway does not send calls to the current revision, though it answers.",
        "Gateways follow within a second: one that the message names for longer has lost its watch of the apiserver (see its log), or its EndpointSlices are late (see the kube-controller-manager). `kubectl rollout restart` of the gateways brings them up to date.";
    GatewaysUnheard,
        "A ready gateway does not tell the operator what it routes.",
        "Calls may well be answered. The gateway is not reached at its state port (8443), or is of an earlier version: see its pod, and any policy between the two.";
    NoGateway,
        "No gateway is ready, or the operator was not told where they are.",
        "`kubectl get pods -l app.kubernetes.io/component=gateway`: nobody can call before one is ready. The operator looks behind the Service that `--gateway-service` names, as the chart sets it.";
    ProxyAnswering,
        "The provider's proxy answers.",
        "";
    ProxyNotReady,
        "The provider's proxy does not answer.",
        "`kubectl describe xprov NAME`: the conditions of the provider say what its proxy lacks.";
    StateUnknown,
        "The provider's proxy does not say how it stands with the provider.",
        "The proxy can't be reached by the operator: see its pod, and any policy between the two. Calls may well be answered.";
    NotProven,
        "No call and no probe has shown yet whether the provider takes a key.",
        "Nothing: the first call or probe tells.";
    CredentialsAccepted,
        "The provider takes the keys.",
        "";
    CredentialsInvalid,
        "The provider does not take a key.",
        "Put a key that the provider takes into the Secret; it is taken up within seconds, with no restart.";
    QuotaLeft,
        "A key can be used.",
        "";
    RateLimited,
        "Every key is limited for now.",
        "Wait, or have the provider's limit raised; several keys of an account share the load.";
    QuotaExhausted,
        "The account's money or quota is used up.",
        "Top the account up, or have its limit raised at the provider.";
    ModelsListed,
        "The models are in the provider's list.",
        "";
    ModelsNotListed,
        "The provider's list could not be read, or does not tell.",
        "Nothing, where the provider lists no models; otherwise the message says what its list answered.";
    ModelNotFound,
        "A model is not in the provider's list, or not in the namespace.",
        "Correct `external.model` (or the ModelAccess that names it) after the list in the message.";
    ModelRetiring,
        "A model ends soon, or has ended, by the provider's list.",
        "Name the model that follows it in `external.model` before the day in the message.";
    ModelsFound,
        "Every model that a ModelAccess names is there.",
        "";
    KeysCurrent,
        "No key has ended.",
        "";
    KeyEnded,
        "A key has ended, and lets nobody in any more.",
        "`weighbridge key create` makes another; remove the one that the message names.";
    RegionKept,
        "Every answer came from where it was to.",
        "";
    RegionMismatch,
        "An answer came from elsewhere, or did not say whence.",
        "Calls are refused where `dataPolicy.onMismatch` is Fail: correct `dataPolicy.region`, or the `baseURL` or place of the provider.";
    ProviderAnswering,
        "The provider answers.",
        "";
    ProviderUnreachable,
        "The last requests to the provider all failed there or on the way.",
        "See the provider's own status page, and whether the proxy's node has a way out to port 443.";
    Serving,
        "Nothing stands in the way of a call.",
        "";
}
