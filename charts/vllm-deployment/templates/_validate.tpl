{{/*
Arguments of `vllm serve`, by arguments.json (made by `make charts`): those that the chart sets, that weaken an environment, or that vLLM would
have to guess. What Slipway refuses of their values is not repeated here.
*/}}
{{- define "vllm-deployment.validateArguments" -}}
{{- $known := .Files.Get "arguments.json" | fromJson }}
{{- range $argument := .Values.engine.extraArgs }}
{{- if and (hasPrefix "-" $argument) (not (regexMatch "^(-[0-9]+|-O=?[0-3]?)$" $argument)) }}
{{- $option := regexFind "^[^=.]+" $argument | replace "_" "-" }}
{{- if has $option $known.own }}
{{- fail (printf "%sengine.extraArgs holds %s: the chart sets this argument itself, from the value made for it." $.path $argument) }}
{{- end }}
{{- if not (has $option $known.allowed) }}
{{- fail (printf "%sengine.extraArgs holds %s: it would weaken the environment, or vLLM %s has no argument of exactly that name." $.path $option $known.vllm) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Rules of an engine that a JSON schema cannot state, or could only state without saying why. Each ends Helm with one sentence.
*/}}
{{- define "vllm-deployment.validate" -}}
{{- $parallel := int .Values.engine.tensorParallelSize }}
{{- $ranks := int .Values.engine.gpus | default $parallel }}
{{- if ne (mod $ranks $parallel) 0 }}
{{- fail (printf "%sengine.gpus is %d but engine.tensorParallelSize is %d: it must be a multiple of it." $.path $ranks $parallel) }}
{{- end }}
{{- range $kind := list "requests" "limits" }}
{{- $gpus := index $.Values.resources $kind "nvidia.com/gpu" | int }}
{{- if ne $gpus $ranks }}
{{- fail (printf "%sengine.%s is %d but resources.%s.nvidia.com/gpu is %d: they must be equal, one GPU for each rank." $.path (ternary "gpus" "tensorParallelSize" (ne $ranks $parallel)) $ranks $kind $gpus) }}
{{- end }}
{{- end }}
{{- range $field, $path := pick .Values.weights "folder" "mountPath" }}
{{- if not (hasSuffix (printf "/%s" $.Values.model.commit) $path) }}
{{- fail (printf "%sweights.%s is %s but model.commit is %s: the folder must be the one of that commit." $.path $field $path $.Values.model.commit) }}
{{- end }}
{{- end }}
{{- include "vllm-deployment.validateArguments" . }}
{{- range $name, $value := .Values.engine.variables }}
{{- if regexMatch "^(VLLM_(NO_USAGE_STATS|CACHE_ROOT|CONFIG_ROOT|PLUGINS|API_KEY|HOST_IP|PORT|SERVER_DEV_MODE|LOGGING_CONFIG_PATH|ALLOW_(INSECURE_SERIALIZATION|RUNTIME_LORA_UPDATING)|TEST_FORCE_LOAD_FORMAT|MODEL_REDIRECT_PATH|USE_MODELSCOPE)|.*_(PATH|FOLDER|DIR))$" $name }}
{{- fail (printf "%sengine.variables holds %s: it is the chart's own, or has the engine read or run what nothing checks." $.path $name) }}
{{- end }}
{{- if contains "$(" $value }}
{{- fail (printf "%sengine.variables.%s holds $(: Kubernetes would put another variable's value there." $.path $name) }}
{{- end }}
{{- end }}
{{- range $key, $_ := merge dict .Values.podLabels .Values.podAnnotations }}
{{- if or (hasPrefix "slipway.dev/" $key) (has $key (list "app.kubernetes.io/name" "app.kubernetes.io/instance")) }}
{{- fail (printf "%spodLabels or podAnnotations holds %s: the chart sets this key itself." $.path $key) }}
{{- end }}
{{- end }}
{{- if lt (include "vllm-deployment.shutdownTimeoutSeconds" . | int) 1 }}
{{- fail (printf "%sterminationGracePeriodSeconds is %d but preStopSleepSeconds is %d: the grace period must be at least 6 s longer, or running requests are cut off." $.path (int .Values.terminationGracePeriodSeconds) (int .Values.preStopSleepSeconds)) }}
{{- end }}
{{- include "vllm-deployment.validateAutoscaling" . }}
{{- if and .Values.compileCache.hostPath .Values.compileCache.claim }}
{{- fail (printf "%scompileCache.hostPath and compileCache.claim are both set: name one place for compiled code, or none." $.path) }}
{{- end }}
{{- with .Values.engine.speculative }}
{{- if and (eq .method "ngram") (gt (int .lookupMin) (int .lookupMax)) }}
{{- fail (printf "%sengine.speculative.lookupMin is %d but engine.speculative.lookupMax is %d: the least must not be more than the most." $.path (int .lookupMin) (int .lookupMax)) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Rules of autoscaling. An HPA waits for an hour at the most before it takes a pod away.
*/}}
{{- define "vllm-deployment.validateAutoscaling" -}}
{{- $scaling := .Values.autoscaling }}
{{- if eq $scaling.kind "none" }}
{{- if not (hasKey .Values "replicas") }}
{{- fail (printf "%sreplicas is missing: set a number of pods, or let an autoscaler choose one (autoscaling.kind)." $.path) }}
{{- end }}
{{- else }}
{{- if hasKey .Values "replicas" }}
{{- fail (printf "%sreplicas is %d but autoscaling.kind is %s: the autoscaler owns the number of pods, so set replicas to null." $.path (int .Values.replicas) $scaling.kind) }}
{{- end }}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) }}
{{- fail (printf "%sautoscaling.minReplicas is %d but autoscaling.maxReplicas is %d: the least must not be more than the most." $.path (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
{{- end }}
{{- if gt (include "vllm-deployment.cooldownSeconds" . | int) 3600 }}
{{- fail (printf "%sautoscaling.kind is %s but loadBudgetSeconds is %d: no autoscaler waits for longer than 3600 s before it takes a pod away, so it would do that before a new one has loaded; set replicas instead." $.path $scaling.kind (int .Values.loadBudgetSeconds)) }}
{{- end }}
{{- if and (eq $scaling.kind "keda") (not $scaling.prometheus) }}
{{- fail (printf "%sautoscaling.kind is keda but autoscaling.prometheus is empty: state the address of the Prometheus that KEDA shall ask." $.path) }}
{{- end }}
{{- if and (eq $scaling.kind "hpa") (gt (len .Values.model.name) 63) }}
{{- fail (printf "%sautoscaling.kind is hpa but model.name has %d characters: the selector of an external metric holds 63; use keda." $.path (len .Values.model.name)) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Rules of the route from outside.
*/}}
{{- define "vllm-deployment.validateRoute" -}}
{{- $route := .Values.route }}
{{- if and (ne $route.kind "none") (not $route.host) }}
{{- fail (printf "route.kind is %s but route.host is empty: name the host that clients use, or every host would lead here." $route.kind) }}
{{- end }}
{{- if and (eq $route.kind "httpRoute") (not $route.gateway.name) }}
{{- fail "route.kind is httpRoute but route.gateway.name is empty: name the Gateway that the route hangs on." }}
{{- end }}
{{- end }}

{{/*
Rules of the engine beside the one that serves.
*/}}
{{- define "vllm-deployment.validateBeside" -}}
{{- with .Values.beside }}
{{- if eq .candidate.fingerprint $.Values.candidate.fingerprint }}
{{- fail (printf "beside.candidate.fingerprint is %s, which is the serving candidate's too: two engines of one candidate have nothing to be told apart by; leave beside empty, or name another candidate." (.candidate.fingerprint | trunc 12)) }}
{{- end }}
{{- if ne .model.name $.Values.model.name }}
{{- fail (printf "beside.model.name is %s but model.name is %s: both must answer to the same name, or requests of one would fail at the other." .model.name $.Values.model.name) }}
{{- end }}
{{- if and .warm (gt (int .weight) 0) }}
{{- fail (printf "beside.warm is true but beside.weight is %d: what was replaced gets no requests; set it to 0." (int .weight)) }}
{{- end }}
{{- end }}
{{- end }}
