{{/*
Selector labels of an engine: name and its slot's instance, for ever. Selectors are immutable, so nothing that can change may enter here.
*/}}
{{- define "vllm-deployment.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .instance | quote }}
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
Labels of every object, whichever engine it belongs to. Not for pods: the chart's version would restart them.
*/}}
{{- define "vllm-deployment.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: slipway
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
slipway.dev/environment: {{ .Values.environment | quote }}
{{- end }}

{{/*
The ConfigMap's name holds its content's hash: pods of the old candidate never see the new one's template.
*/}}
{{- define "vllm-deployment.chatTemplateName" -}}
{{ .name }}-chat-template-{{ .Values.engine.chatTemplate | sha256sum | trunc 8 }}
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
Labels of the pod of `helm test`. Its name is another one, or the Service would send it requests.
*/}}
{{- define "vllm-deployment.testLabels" -}}
app.kubernetes.io/name: {{ printf "%s-test" .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/*
What every container may do: nothing but run.
*/}}
{{- define "vllm-deployment.confined" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end }}

{{/*
The most pods that there may be: what the autoscaler may ask for, or what the values ask for.
*/}}
{{- define "vllm-deployment.mostReplicas" -}}
{{ ternary .Values.replicas .Values.autoscaling.maxReplicas (eq .Values.autoscaling.kind "none") | int }}
{{- end }}

{{/*
Seconds that a queue must have been short before a pod goes: longer than a new one would take to load (with 60 s to be scheduled and
started in), or the autoscaler would throw away what it has just waited for.
*/}}
{{- define "vllm-deployment.cooldownSeconds" -}}
{{ add (int .Values.loadBudgetSeconds) 60 }}
{{- end }}

{{/*
How an autoscaler takes pods away: one a minute, after the cooldown.
*/}}
{{- define "vllm-deployment.scaleDown" -}}
stabilizationWindowSeconds: {{ include "vllm-deployment.cooldownSeconds" . }}
policies:
  - type: Pods
    value: 1
    periodSeconds: 60
{{- end }}

{{/*
The volume of the weights. Read-only as a whole: on a node without the snapshot the kubelet must fail to start the pod, not make it an
empty folder.
*/}}
{{- define "vllm-deployment.weightsVolume" -}}
name: weights
persistentVolumeClaim:
  claimName: {{ .Values.weights.claim | quote }}
  readOnly: true
{{- end }}

{{/*
Whether compiled code is kept from one pod to the next; empty if not.
*/}}
{{- define "vllm-deployment.keepsCompiled" -}}
{{ or .Values.compileCache.hostPath .Values.compileCache.claim }}
{{- end }}

{{/*
The folder of compiled code, for this environment, image, GPU and candidate alone: what lies there is run by the engine, so no other
candidate may write to it.
*/}}
{{- define "vllm-deployment.compiledFolder" -}}
{{ .Values.environment }}/{{ .Values.image.digest | trimPrefix "sha256:" | trunc 16 }}-{{ .Values.compileCache.gpu | default "gpu" }}/{{ .Values.candidate.fingerprint | trunc 40 }}
{{- end }}

{{/*
The volume of compiled code. Directory, not DirectoryOrCreate: what the kubelet makes belongs to root, and the engine is not root.
*/}}
{{- define "vllm-deployment.compiledVolume" -}}
name: compiled
{{- if .Values.compileCache.hostPath }}
hostPath:
  path: {{ .Values.compileCache.hostPath | quote }}
  type: Directory
{{- else }}
persistentVolumeClaim:
  claimName: {{ .Values.compileCache.claim | quote }}
{{- end }}
{{- end }}

{{/*
Whether an HTTPRoute may have time-outs; empty if not. Older resources of the Gateway API do not know the field, and the API server refuses it.
*/}}
{{- define "vllm-deployment.routeHasTimeouts" -}}
{{ if semverCompare ">=1.2.0" .Values.route.gatewayApi }}yes{{ end }}
{{- end }}
