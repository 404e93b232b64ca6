"""The chart behind the recorded helm commands, as far as its requests show it."""

from __future__ import annotations

from pathlib import Path

_CHART = """
apiVersion: v2
name: vllm-deployment
version: 0.1.0
appVersion: 0.32.0
"""
_VALUES = """
image: vllm/vllm-openai:v0.32.0
gpus: 1
"""
_NAMED = """
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
"""
_TEMPLATES = {
    "policy.yaml": f"""
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{_NAMED}
spec:
  podSelector: {{matchLabels: {{app: "{{{{ .Release.Name }}}}"}}}}
  policyTypes: [Ingress, Egress]
""",
    "budget.yaml": f"""
apiVersion: policy/v1
kind: PodDisruptionBudget
{_NAMED}
spec:
  maxUnavailable: 1
  selector: {{matchLabels: {{app: "{{{{ .Release.Name }}}}"}}}}
""",
    "account.yaml": f"""
apiVersion: v1
kind: ServiceAccount
{_NAMED}
automountServiceAccountToken: false
""",
    "configuration.yaml": f"""
apiVersion: v1
kind: ConfigMap
{_NAMED}
data: {{image: "{{{{ .Values.image }}}}"}}
""",
    "service.yaml": f"""
apiVersion: v1
kind: Service
{_NAMED}
  labels: {{app: "{{{{ .Release.Name }}}}"}}
spec:
  selector: {{app: "{{{{ .Release.Name }}}}"}}
  ports: [{{name: http, port: 8000, targetPort: http}}]
""",
    "deployment.yaml": f"""
apiVersion: apps/v1
kind: Deployment
{_NAMED}
  labels: {{app: "{{{{ .Release.Name }}}}"}}
spec:
  replicas: 1
  progressDeadlineSeconds: 30
  selector: {{matchLabels: {{app: "{{{{ .Release.Name }}}}"}}}}
  strategy: {{type: RollingUpdate, rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}}}
  template:
    metadata: {{labels: {{app: "{{{{ .Release.Name }}}}"}}}}
    spec:
      serviceAccountName: {{{{ .Release.Name }}}}
      containers:
        - name: vllm
          image: {{{{ .Values.image }}}}
          args: [--model, /models/x]
          ports: [{{name: http, containerPort: 8000}}]
          readinessProbe: {{httpGet: {{path: /health, port: http}}, periodSeconds: 5}}
          startupProbe: {{httpGet: {{path: /health, port: http}}, periodSeconds: 5, failureThreshold: 120}}
          resources:
            limits: {{memory: 1Gi, nvidia.com/gpu: {{{{ .Values.gpus }}}}}}
            requests: {{memory: 1Gi, cpu: "1", nvidia.com/gpu: {{{{ .Values.gpus }}}}}}
""",
}


def write_chart(folder: Path) -> Path:
    """Write the chart as `chart` into the folder and return its path."""
    chart = folder / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(_CHART)
    (chart / "values.yaml").write_text(_VALUES)
    for name, template in _TEMPLATES.items():
        (chart / "templates" / name).write_text(template)
    return chart
