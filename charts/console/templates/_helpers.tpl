{{/*
Name of every object of this release.
*/}}
{{- define "console.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/*
Selector labels: name and instance, for ever. Selectors are immutable.
*/}}
{{- define "console.selectorLabels" -}}
app.kubernetes.io/name: slipway-console
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/*
Labels of every object.
*/}}
{{- define "console.labels" -}}
{{ include "console.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: slipway
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end }}

{{/*
What stands above the spec of every object.
*/}}
{{- define "console.metadata" -}}
name: {{ include "console.name" . | quote }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "console.labels" . | nindent 2 }}
{{- end }}
