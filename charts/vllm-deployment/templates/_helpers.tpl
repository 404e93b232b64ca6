{{/*
Selector labels: name and instance, for ever. Selectors are immutable, so nothing that can change may enter here.
*/}}
{{- define "vllm-deployment.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/*
What identifies the candidate, as labels. A label value holds 63 characters and a fingerprint has 64: the label carries the first 40.
*/}}
{{- define "vllm-deployment.candidateLabels" -}}
slipway.dev/environment: {{ .Values.environment | quote }}
slipway.dev/candidate: {{ .Values.candidate.fingerprint | trunc 40 | quote }}
{{- end }}

{{/*
The candidate in full, as annotations: repository and model names are no label values.
*/}}
{{- define "vllm-deployment.candidateAnnotations" -}}
slipway.dev/fingerprint: {{ .Values.candidate.fingerprint | quote }}
slipway.dev/model: {{ .Values.model.name | quote }}
slipway.dev/repository: {{ .Values.model.repository | quote }}
slipway.dev/commit: {{ .Values.model.commit | quote }}
{{- end }}

{{/*
Labels of every object. Not for pods: the chart's version would restart them.
*/}}
{{- define "vllm-deployment.labels" -}}
{{ include "vllm-deployment.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: slipway
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
slipway.dev/environment: {{ .Values.environment | quote }}
{{- end }}

{{/*
The ConfigMap's name holds its content's hash: pods of the old candidate never see the new one's template.
*/}}
{{- define "vllm-deployment.chatTemplateName" -}}
{{ .Values.fullname }}-chat-template-{{ .Values.engine.chatTemplate | sha256sum | trunc 8 }}
{{- end }}

{{/*
Seconds that the engine may take to finish running requests: the grace period without the preStop sleep and 5 s to exit in.
*/}}
{{- define "vllm-deployment.shutdownTimeoutSeconds" -}}
{{ sub (int .Values.terminationGracePeriodSeconds) (add (int .Values.preStopSleepSeconds) 5) }}
{{- end }}

{{/*
Labels of the nodes that may run the engine: those of the GPU pool unless others are given. The default is here and not in
values.yaml because Helm would merge it into what is given, and the pods would then ask for both.
*/}}
{{- define "vllm-deployment.nodeSelector" -}}
{{- .Values.nodeSelector | default (dict "node-type" "gpu") | toYaml }}
{{- end }}

{{/*
Peers of a network policy, from a list of {namespaceLabels, podLabels}.
*/}}
{{- define "vllm-deployment.peers" -}}
{{- $peers := list }}
{{- range . }}
{{- $peers = append $peers (dict "namespaceSelector" (dict "matchLabels" .namespaceLabels) "podSelector" (dict "matchLabels" .podLabels)) }}
{{- end }}
{{- toYaml $peers }}
{{- end }}

{{/*
The arguments of `vllm serve` that the chart sets, or that would undo what it sets, as a regular expression.
*/}}
{{- define "vllm-deployment.ownArguments" -}}
^(--(model|host|port|uds|served[-_]model[-_]name|load[-_]format|max[-_]model[-_]len|tensor[-_]parallel[-_]size|dtype|gpu[-_]memory[-_]utilization|chat[-_]template|shutdown[-_]timeout|revision|tokenizer[-_]revision|download[-_]dir|config)|-tp)(=|$)
{{- end }}

{{/*
Rules that a JSON schema cannot state, or could only state without saying why. Each ends Helm with one sentence.
*/}}
{{- define "vllm-deployment.validate" -}}
{{- $parallel := int .Values.engine.tensorParallelSize }}
{{- range $kind := list "requests" "limits" }}
{{- $gpus := index $.Values.resources $kind "nvidia.com/gpu" | int }}
{{- if ne $gpus $parallel }}
{{- fail (printf "engine.tensorParallelSize is %d but resources.%s.nvidia.com/gpu is %d: they must be equal, one GPU for each rank." $parallel $kind $gpus) }}
{{- end }}
{{- end }}
{{- range $field, $path := pick .Values.weights "folder" "mountPath" }}
{{- if not (hasSuffix (printf "/%s" $.Values.model.commit) $path) }}
{{- fail (printf "weights.%s is %s but model.commit is %s: the folder must be the one of that commit." $field $path $.Values.model.commit) }}
{{- end }}
{{- end }}
{{- range .Values.engine.extraArgs }}
{{- if regexMatch (include "vllm-deployment.ownArguments" $) . }}
{{- fail (printf "engine.extraArgs holds %s: the chart sets this argument itself, from the value made for it." .) }}
{{- end }}
{{- if regexMatch "^--(hf[-_]token|api[-_]key)(=|$)" . }}
{{- fail (printf "engine.extraArgs holds %s: a secret must not stand in a pod's arguments." (. | splitList "=" | first)) }}
{{- end }}
{{- end }}
{{- range $key, $_ := merge dict .Values.podLabels .Values.podAnnotations }}
{{- if or (hasPrefix "slipway.dev/" $key) (has $key (list "app.kubernetes.io/name" "app.kubernetes.io/instance")) }}
{{- fail (printf "podLabels or podAnnotations holds %s: the chart sets this key itself." $key) }}
{{- end }}
{{- end }}
{{- if lt (include "vllm-deployment.shutdownTimeoutSeconds" . | int) 1 }}
{{- fail (printf "terminationGracePeriodSeconds is %d but preStopSleepSeconds is %d: the grace period must be at least 6 s longer, or running requests are cut off." (int .Values.terminationGracePeriodSeconds) (int .Values.preStopSleepSeconds)) }}
{{- end }}
{{- end }}
