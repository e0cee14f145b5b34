{{/*
For a producer's chart that has this one as a dependency: each takes `.Subcharts.meshgate`, as in
  {{ include "meshgate.sidecar" .Subcharts.meshgate | nindent 8 }}
*/}}

{{- define "meshgate.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "meshgate.labels" -}}
app.kubernetes.io/name: meshgate
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Labels that a pod with a gate must have: PodMonitor and NetworkPolicy find it by them. */}}
{{- define "meshgate.podLabels" -}}
meshgate/gate: {{ include "meshgate.fullname" . }}
{{- end }}

{{/* Annotations that a pod with a gate should have: it is rolled out anew when the settings change. */}}
{{- define "meshgate.podAnnotations" -}}
meshgate/settings: {{ include "meshgate.settings" . | sha256sum | trunc 16 | quote }}
{{- end }}

{{- define "meshgate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "meshgate.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "meshgate.image" -}}
{{- $tag := .Values.image.tag | default (printf "%s%s" .Chart.AppVersion (eq .Values.rules.from "git" | ternary "-with-git" "")) }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository $tag }}
{{- end }}
{{- end }}

{{/* meshgate.yaml. Rules from git are a setting, which --rules would beat. */}}
{{- define "meshgate.settings" -}}
{{- $settings := deepCopy .Values.settings }}
{{- if hasKey $settings "rules" }}
{{- fail "settings.rules: say where rules come from with rules.from, so that the chart mounts what it takes" }}
{{- end }}
{{- if eq .Values.rules.from "git" }}
{{- $git := .Values.rules.git }}
{{- $rules := dict "git" (required "rules.git.url: name the repository, or another rules.from" $git.url) "ref" $git.ref "interval_seconds" $git.interval_seconds }}
{{- if $git.path }}{{ $_ := set $rules "path" $git.path }}{{ end }}
{{- $_ := set $settings "rules" $rules }}
{{- end }}
{{- toYaml $settings }}
{{- end }}

{{/* The key of a rule file in its ConfigMap, where no slash may be. */}}
{{- define "meshgate.ruleKey" -}}
{{- replace "/" "." . }}
{{- end }}

{{- define "meshgate.rulesConfigMap" -}}
{{- if eq .Values.rules.from "configMap" }}
{{- required "rules.configMap.name: name the ConfigMap that holds the rules" .Values.rules.configMap.name }}
{{- else }}
{{- include "meshgate.fullname" . }}-rules
{{- end }}
{{- end }}

{{/* What the producer's container needs, and only that: set for the whole pod it would be the gate's upstream too. */}}
{{- define "meshgate.producerEnv" -}}
- name: AWS_ENDPOINT_URL_KINESIS
  value: http://127.0.0.1:{{ .Values.dataPort }}
{{- end }}

{{/* The gate as an init container that goes on running: ready before the producer starts, there until it has stopped. */}}
{{- define "meshgate.sidecar" -}}
- name: meshgate
  restartPolicy: Always
  {{- include "meshgate.container" . | nindent 2 }}
{{- end }}

{{/* What a sidecar and a gate of the fleet have in common. */}}
{{- define "meshgate.container" -}}
image: {{ include "meshgate.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - run
  - --config=/etc/meshgate/config/meshgate.yaml
  {{- if ne .Values.rules.from "git" }}
  - --rules={{ eq .Values.rules.from "image" | ternary .Values.rules.path "/etc/meshgate/rules" }}
  {{- end }}
  - --data=/var/lib/meshgate/meshgate.db
  - --listen=127.0.0.1:{{ .Values.dataPort }}
  - --admin=0.0.0.0:{{ .Values.adminPort }}
  - --log={{ .Values.log }}
{{- if or .Values.extraEnv .Values.gateRole.arn }}
env:
  {{- if .Values.gateRole.arn }}
  - {name: AWS_ROLE_ARN, value: {{ .Values.gateRole.arn | quote }}}
  - {name: AWS_WEB_IDENTITY_TOKEN_FILE, value: /var/run/meshgate/token}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
ports:
  - name: admin
    containerPort: {{ .Values.adminPort }}
startupProbe:
  httpGet: {path: /ready, port: admin}
  periodSeconds: 1
  # Rules from git may take a minute to come.
  failureThreshold: {{ eq .Values.rules.from "git" | ternary 90 30 }}
readinessProbe:
  httpGet: {path: /ready, port: admin}
  periodSeconds: 5
livenessProbe:
  httpGet: {path: /live, port: admin}
  periodSeconds: 10
  failureThreshold: 3
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  - {name: meshgate-config, mountPath: /etc/meshgate/config, readOnly: true}
  {{- if has .Values.rules.from (list "files" "configMap") }}
  - {name: meshgate-rules, mountPath: /etc/meshgate/rules, readOnly: true}
  {{- end }}
  - {name: meshgate-state, mountPath: /var/lib/meshgate}
  {{- if .Values.gateRole.arn }}
  - {name: meshgate-token, mountPath: /var/run/meshgate, readOnly: true}
  {{- end }}
  {{- if and (eq .Values.rules.from "git") .Values.rules.git.sshSecret }}
  - {name: meshgate-ssh, mountPath: /var/lib/meshgate/.ssh, readOnly: true}
  {{- end }}
{{- end }}

{{/* The volumes of a pod with a gate. */}}
{{- define "meshgate.volumes" -}}
- name: meshgate-config
  configMap: {name: {{ include "meshgate.fullname" . }}-config}
{{- if has .Values.rules.from (list "files" "configMap") }}
- name: meshgate-rules
  configMap:
    name: {{ include "meshgate.rulesConfigMap" . }}
    {{- if eq .Values.rules.from "files" }}
    items:
      {{- range $path, $_ := .Values.rules.files }}
      - {key: {{ include "meshgate.ruleKey" $path }}, path: {{ $path }}}
      {{- end }}
    {{- else if .Values.rules.configMap.items }}
    items:
      {{- toYaml .Values.rules.configMap.items | nindent 6 }}
    {{- end }}
{{- end }}
{{- if and (eq .Values.rules.from "git") .Values.rules.git.sshSecret }}
- name: meshgate-ssh
  # ssh refuses keys that others may read; the group is the pod's fsGroup.
  secret: {secretName: {{ .Values.rules.git.sshSecret }}, defaultMode: 0440}
{{- end }}
{{- if .Values.gateRole.arn }}
- name: meshgate-token
  projected:
    sources:
      - serviceAccountToken: {path: token, audience: {{ .Values.gateRole.audience }}, expirationSeconds: 3600}
{{- end }}
{{- if not .Values.state.external }}
- name: meshgate-state
  emptyDir: {sizeLimit: {{ .Values.state.sizeLimit }}}
{{- end }}
{{- end }}
