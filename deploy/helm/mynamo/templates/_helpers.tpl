{{- define "mynamo.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Takes a dictionary: root, component. */}}
{{- define "mynamo.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "mynamo.labels" -}}
{{ include "mynamo.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "mynamo.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "mynamo.secret" -}}
{{ .Values.config.existingSecret | default (include "mynamo.name" .) }}
{{- end -}}

{{/* A pod without its probes and its lifecycle. Takes a dictionary: root, component, args, resources, secret, ports, probes. */}}
{{- define "mynamo.pod" -}}
{{- $root := .root -}}
automountServiceAccountToken: false
enableServiceLinks: false  # they are variables whose names begin with MYNAMO_, as those of the configuration
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: {{ .component }}
    image: {{ include "mynamo.image" $root }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args: {{- toYaml .args | nindent 6 }}
    env:
      - {name: MYNAMO_CONFIG, value: /etc/mynamo/{{ .component }}.toml}
      - {name: MYNAMO_METRICS__HOST, value: 0.0.0.0}
      - {name: MYNAMO_LOCAL_WAKEUPS, value: "false"}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    {{- with .resources }}
    resources: {{- toYaml . | nindent 6 }}
    {{- end }}
    volumeMounts:
      - {name: config, mountPath: /etc/mynamo, readOnly: true}
      - {name: tmp, mountPath: /tmp}
      {{- if $root.Values.filesSecret }}
      - {name: files, mountPath: /etc/mynamo-files, readOnly: true}
      {{- end }}
    {{- with .more }}
    {{- . | nindent 4 }}
    {{- end }}
volumes:
  - name: config
    secret:
      secretName: {{ .secret }}
      defaultMode: 0440
      items:
        - {key: {{ .component }}.toml, path: {{ .component }}.toml}
  - name: tmp
    emptyDir: {}
  {{- if $root.Values.filesSecret }}
  - name: files
    secret: {secretName: {{ $root.Values.filesSecret }}, defaultMode: 0440}
  {{- end }}
{{- end -}}

{{/* A Deployment and its PodDisruptionBudget. Takes a dictionary: root, component, values, args, more, surge. */}}
{{- define "mynamo.deployment" -}}
{{- $root := .root -}}
{{- $name := printf "%s-%s" (include "mynamo.name" $root) .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels: {{- include "mynamo.labels" . | nindent 4 }}
spec:
  {{- if not .autoscaled }}
  replicas: {{ .values.replicas }}
  {{- end }}
  selector:
    matchLabels: {{- include "mynamo.selector" . | nindent 6 }}
  strategy:
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  template:
    metadata:
      labels: {{- include "mynamo.labels" . | nindent 8 }}
      annotations:
        checksum/config: {{ get $root.Values.config .component | sha256sum }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      # Longer than the processes need: docs/deployment.md.
      terminationGracePeriodSeconds: 45
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "mynamo.selector" . | nindent 14 }}
      {{- $pod := dict "root" $root "component" .component "args" .args "more" .more }}
      {{- $pod = merge $pod (dict "resources" .values.resources "secret" (include "mynamo.secret" $root)) }}
      {{- include "mynamo.pod" $pod | nindent 6 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  labels: {{- include "mynamo.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "mynamo.selector" . | nindent 6 }}
{{- end -}}

{{/* Ports and probes of a worker. Its metrics are there once it has opened the cluster; with a name, no shard is asked. */}}
{{- define "mynamo.worker" -}}
ports:
  - {name: metrics, containerPort: 9464}
startupProbe:
  httpGet: &metrics {path: "/metrics?name%5B%5D=mynamo_build_info", port: metrics}
  periodSeconds: 5
  failureThreshold: 120
readinessProbe:
  httpGet: *metrics
  periodSeconds: 10
  timeoutSeconds: 5
livenessProbe:
  httpGet: *metrics
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
{{- end -}}
