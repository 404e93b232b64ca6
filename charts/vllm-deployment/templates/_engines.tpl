{{/*
The engines of the release, as what the templates of an engine are given for a root. A template returns text alone, so they are put into
`.into`: `serving` is the engine that the values above `beside` describe, `other` the one of `beside` (none without), `engines` are both, and
`tried` is the one that FULLNAME-canary leads to.

Each engine lies in a slot, a or b, which names its objects and marks its pods, and stays with it for ever: when the two change places in the
values, all that is rendered of either stays the same, and no pod starts again. Slot a is called what the release of one engine always was.
*/}}
{{- define "vllm-deployment.engines" -}}
{{- $root := .root }}
{{- $slot := $root.Values.slot }}
{{- $serving := dict "slot" $slot "path" "" "Values" $root.Values }}
{{- $engines := list $serving }}
{{- $other := dict }}
{{- if $root.Values.beside }}
{{- $shared := pick $root.Values "fullname" "environment" "networkPolicy" "route" "slot" "beside" }}
{{- $other = dict "slot" (ternary "b" "a" (eq $slot "a")) "path" "beside." "Values" (merge (dict) $shared $root.Values.beside) }}
{{- if kindIs "invalid" $other.Values.replicas }}
{{- $_ := unset $other.Values "replicas" }}
{{- end }}
{{- $engines = append $engines $other }}
{{- end }}
{{- range $engine := $engines }}
{{- $suffix := ternary "" "-b" (eq $engine.slot "a") }}
{{- $_ := set $engine "name" (printf "%s%s" $root.Values.fullname $suffix) }}
{{- $_ := set $engine "instance" (printf "%s%s" $root.Release.Name $suffix) }}
{{- $_ := set $engine "Release" $root.Release }}
{{- $_ := set $engine "Chart" $root.Chart }}
{{- $_ := set $engine "Files" $root.Files }}
{{- end }}
{{- $_ := set .into "serving" $serving }}
{{- $_ := set .into "other" $other }}
{{- $_ := set .into "engines" $engines }}
{{- $_ := set .into "tried" (ternary $serving $other (dig "warm" false ($root.Values.beside | default dict))) }}
{{- end }}
