{{/* Names begin with the release's, so that two releases never claim one object. */}}
{{- define "weighbridge.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Call with (list $ "component"). */}}
{{- define "weighbridge.name" -}}
{{- printf "%s-%s" (include "weighbridge.fullname" (index . 0)) (index . 1) -}}
{{- end -}}

{{/*
The operator's NetworkPolicies and the PodMonitor know pods by name and component: both are part of the API
between the chart and the operator.
*/}}
{{- define "weighbridge.selectorLabels" -}}
app.kubernetes.io/name: weighbridge
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "weighbridge.labels" -}}
{{ include "weighbridge.selectorLabels" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name ((index . 0).Chart.Version | replace "+" "_") }}
{{- end -}}

{{/* Call with (list $ "image name"). */}}
{{- define "weighbridge.image" -}}
{{- $root := index . 0 -}}
{{- printf "%s/%s:%s" $root.Values.images.registry (index . 1) ($root.Values.images.tag | default $root.Chart.AppVersion) -}}
{{- end -}}

{{/* The same of pods that the operator makes: another tag rolls them. */}}
{{- define "weighbridge.engineImage" -}}
{{- $root := index . 0 -}}
{{- $tag := $root.Values.images.engineTag | default $root.Values.images.tag | default $root.Chart.AppVersion -}}
{{- printf "%s/%s:%s" $root.Values.images.registry (index . 1) $tag -}}
{{- end -}}

{{/* Secrets that the operator makes and fills. */}}
{{- define "weighbridge.authority" -}}
{{- include "weighbridge.name" (list . "authority") -}}
{{- end -}}

{{- define "weighbridge.gatewayCertificate" -}}
{{- include "weighbridge.name" (list . "gateway-certificate") -}}
{{- end -}}

{{/* What the front door speaks. */}}
{{- define "weighbridge.scheme" -}}
{{- ternary "https" "http" (not (empty .Values.gateway.tls.secretName)) -}}
{{- end -}}

{{/* Pod Security "restricted", the pod's half. */}}
{{- define "weighbridge.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# Makes mounted certificates readable for that user, and nobody else.
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{/* Pod Security "restricted", the container's half, and a read-only root on top of it. */}}
{{- define "weighbridge.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- define "weighbridge.scrapeAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: "9090"
prometheus.io/path: /metrics
{{- end -}}

{{/* Where a component's pods may be put. Call with its values. */}}
{{- define "weighbridge.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/*
Refuses a largest body that a gateway could not translate: bodies get a fifth of its memory, and one that is translated is held
twice. The gateway says the same, when it is too late.
*/}}
{{- define "weighbridge.memorySuffices" -}}
{{- $memory := ((.Values.gateway.resources).limits).memory -}}
{{- if and $memory (not (int64 .Values.gateway.limits.maxBufferedBytes)) -}}
{{- $text := ternary $memory (printf "%d" (int64 $memory)) (kindIs "string" $memory) -}}
{{- $units := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $bytes := mulf (regexFind "^[0-9.]+" $text | float64) (get $units (regexFind "[A-Za-z]*$" $text) | float64) -}}
{{- $needed := mul 10 (int64 .Values.gateway.limits.maxBodyBytes) -}}
{{- if lt $bytes (float64 $needed) -}}
{{- fail (printf "gateway.limits.maxBodyBytes of %d needs %d bytes of memory, ten times as much: raise gateway.resources.limits.memory, which is %s" (int64 .Values.gateway.limits.maxBodyBytes) $needed $text) -}}
{{- end -}}
{{- end -}}
{{- end -}}
