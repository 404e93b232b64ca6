{{/*
The namespace that the models run in. The release itself lies in another one, out of the deployer's reach.
*/}}
{{- define "environment.namespace" -}}
{{ .Values.namespace | default (printf "llm-%s" .Release.Name) }}
{{- end }}

{{/*
Labels of every object.
*/}}
{{- define "environment.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: slipway
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
slipway.dev/environment: {{ .Release.Name | quote }}
{{- end }}

{{/*
For what running models stand on: `helm uninstall` leaves it, and the next `helm install` takes it over.
*/}}
{{- define "environment.kept" -}}
helm.sh/resource-policy: keep
{{- end }}

{{/*
The service account that a worker deploys with, in the release's own namespace.
*/}}
{{- define "environment.deployer" -}}
{{ .Release.Name }}-deployer
{{- end }}

{{/*
Name of the rights beyond the namespace. A namespace's name is unique in the cluster, a release's is not.
*/}}
{{- define "environment.planner" -}}
slipway-planner-{{ include "environment.namespace" . }}
{{- end }}

{{/*
Peers of a network policy, from a list of {namespaceLabels, podLabels}.
*/}}
{{- define "environment.peers" -}}
{{- $peers := list }}
{{- range . }}
{{- $peers = append $peers (dict "namespaceSelector" (dict "matchLabels" .namespaceLabels) "podSelector" (dict "matchLabels" .podLabels)) }}
{{- end }}
{{- toYaml $peers }}
{{- end }}

{{/*
Who verifies: pods of the namespace that the chart is installed from, unless others are given.
*/}}
{{- define "environment.verifiers" -}}
{{- $own := dict "namespaceLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace) "podLabels" (dict "app.kubernetes.io/part-of" "slipway") }}
{{- .Values.networkPolicy.verifiers | default (list $own) | toYaml }}
{{- end }}

{{/*
The nodes that have the store. The default is here and not in values.yaml because Helm would merge it into what is given.
*/}}
{{- define "environment.storeNodes" -}}
required:
  nodeSelectorTerms:
    - matchExpressions:
        {{- range $key, $value := .Values.nodeSelector | default (dict "node-type" "gpu") }}
        - key: {{ $key | quote }}
          operator: In
          values: [{{ $value | quote }}]
        {{- end }}
{{- end }}

{{/*
Rules that a JSON schema cannot state. Each ends Helm with one sentence.
*/}}
{{- define "environment.validate" -}}
{{- if not (regexMatch "^[a-z][a-z0-9]{0,19}$" .Release.Name) }}
{{- fail (printf "The release's name %s is the environment's: it must be 1 to 20 lower-case letters and digits, beginning with a letter." .Release.Name) }}
{{- end }}
{{- $namespace := include "environment.namespace" . }}
{{- if eq $namespace .Release.Namespace }}
{{- fail (printf "The release lies in the namespace %s, which is to be the models' own: install it from another one (--namespace slipway-%s --create-namespace), so that who deploys models cannot change what confines them." $namespace .Release.Name) }}
{{- end }}
{{- if has $namespace (list "default" "kube-system" "kube-public" "kube-node-lease") }}
{{- fail (printf "namespace is %s, which belongs to the cluster: choose one of the environment's own." $namespace) }}
{{- end }}
{{- $cache := .Values.compileCache.path }}
{{- if and $cache (or (hasPrefix (printf "%s/" .Values.store.path) (printf "%s/" $cache)) (hasPrefix (printf "%s/" $cache) (printf "%s/" .Values.store.path))) }}
{{- fail (printf "compileCache.path is %s and store.path is %s: neither may lie in the other, or engines could write to weights." $cache .Values.store.path) }}
{{- end }}
{{- if and .Values.deployer.serviceProxy (not .Values.networkPolicy.controlPlane) }}
{{- fail "deployer.serviceProxy is true but networkPolicy.controlPlane is empty: list the API servers' address ranges, or their proxy reaches no engine." }}
{{- end }}
{{- end }}
