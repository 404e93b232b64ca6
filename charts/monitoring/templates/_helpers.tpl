{{/*
Selector labels: name and instance, for ever. Selectors are immutable.
*/}}
{{- define "monitoring.selectorLabels" -}}
app.kubernetes.io/name: slipway-exporter
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/*
Labels of every object.
*/}}
{{- define "monitoring.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: slipway
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end }}

{{/*
Labels of what Prometheus and Grafana look for: everybody's, and those that the operator of Prometheus asks for.
*/}}
{{- define "monitoring.foundLabels" -}}
{{ include "monitoring.labels" . }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Name of an object of this release.
*/}}
{{- define "monitoring.name" -}}
{{- printf "%s-%s" (.root.Release.Name | trunc 40 | trimSuffix "-") .part }}
{{- end }}
