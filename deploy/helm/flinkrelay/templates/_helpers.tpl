{{- define "flinkrelay.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "flinkrelay.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "flinkrelay.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "flinkrelay.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "flinkrelay.selectorLabels" -}}
app.kubernetes.io/name: {{ include "flinkrelay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "flinkrelay.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "flinkrelay.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "flinkrelay.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "flinkrelay.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "flinkrelay.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "flinkrelay.configMapName" -}}
{{ .Values.existingConfigMap | default (include "flinkrelay.fullname" .) }}
{{- end }}

{{- /* Whether relays scrape the same targets. */}}
{{- define "flinkrelay.replicated" -}}
{{- if and (eq .Values.mode "deployment") (gt (int .Values.replicaCount) 1) }}true{{ end }}
{{- end }}

{{- /* What cannot be right, in words, before anything is rendered. */}}
{{- define "flinkrelay.check" -}}
{{- if not .Values.existingConfigMap }}
{{- if not .Values.config.remote_write }}
{{- fail "config.remote_write is empty: name at least one receiver, for instance by a file of presets/" }}
{{- end }}
{{- if and (ne .Values.mode "sidecar") (not .Values.targets) (not .Values.config.scrape_configs) (not .Values.discovery.flink.enabled) }}
{{- fail "targets is empty: name Flink's processes, such as flink-jobmanager:9249, or jobs in config.scrape_configs; or set discovery.flink.enabled" }}
{{- end }}
{{- end }}
{{- if and .Values.discovery.flink.namespaces .Values.discovery.flink.allNamespaces }}
{{- fail "discovery.flink.namespaces and discovery.flink.allNamespaces exclude each other" }}
{{- end }}
{{- if and (eq .Values.mode "sidecar") .Values.serviceMonitor.enabled }}
{{- fail "mode sidecar has no Service: use podMonitor.enabled" }}
{{- end }}
{{- if and (hasKey (dig "external_labels" (dict) (default (dict) .Values.config.global)) "__replica__") (not (include "flinkrelay.replicated" .)) }}
{{- fail "__replica__ is for replicas that scrape the same targets, mode deployment with replicaCount above 1: Mimir would drop the samples of all relays but one. Use replicaLabel" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (not (include "flinkrelay.watched" .)) }}
{{- fail "autoscaling.enabled needs mode statefulset and scaling.watch: other relays do not learn of their number" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" }}
{{- end }}
{{- if and (include "flinkrelay.replicated" .) .Values.persistence.enabled }}
{{- fail "persistence.enabled with replicaCount above 1 needs mode statefulset: relays cannot share a data directory" }}
{{- end }}
{{- end }}

{{- /* Whether relays ask the API server how many they are. */}}
{{- define "flinkrelay.watched" -}}
{{- if and (eq .Values.mode "statefulset") .Values.scaling.watch }}true{{ end }}
{{- end }}

{{- /* Whether relays look for Flink's pods. */}}
{{- define "flinkrelay.looks" -}}
{{- if and (ne .Values.mode "sidecar") .Values.discovery.flink.enabled (not .Values.existingConfigMap) }}true{{ end }}
{{- end }}

{{- /* The namespaces that they look in, as JSON; an empty list for all. */}}
{{- define "flinkrelay.looksIn" -}}
{{- $flink := .Values.discovery.flink }}
{{- ternary (list) ($flink.namespaces | default (list .Release.Namespace) | uniq) $flink.allNamespaces | toJson }}
{{- end }}

{{- /* Whether pods get a token of the API server. */}}
{{- define "flinkrelay.asksApi" -}}
{{- if or .Values.rbac.rules (include "flinkrelay.watched" .) (include "flinkrelay.looks" .) }}true{{ end }}
{{- end }}

{{- /* Which part of the targets is a relay's. */}}
{{- define "flinkrelay.shard" -}}
{{- if include "flinkrelay.watched" . -}}
${POD_NAME}/statefulset
{{- else -}}
${POD_NAME}/{{ int .Values.replicaCount }}
{{- end }}
{{- end }}

{{- /* The configuration file. */}}
{{- define "flinkrelay.config" -}}
{{- $config := include "flinkrelay.settings" . | fromYaml }}
{{- if eq .Values.mode "statefulset" }}
{{- /* In the file and not in the environment: the relays read it again and share the targets anew, none is replaced. */}}
{{- $_ := set $config "global" (merge (dict "shard" (include "flinkrelay.shard" .)) (default (dict) $config.global)) }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- /* All of it but the number of relays. `targets` and `cluster` are folded into `config`. */}}
{{- define "flinkrelay.settings" -}}
{{- $config := deepCopy .Values.config }}
{{- $labels := deepCopy .Values.targetLabels }}
{{- $jobs := list }}
{{- if eq .Values.mode "sidecar" }}
{{- /* All sidecars scrape the same address, so the pod must tell their series apart, those of `up` first of all. */}}
{{- $labels = merge $labels (dict "namespace" "${POD_NAMESPACE}" "pod" "${POD_NAME}" "flink_deployment" "${FLINK_CLUSTER:-}") }}
{{- $static := dict "targets" (list (printf "127.0.0.1:%v" .Values.sidecar.port)) "labels" $labels }}
{{- $rule := dict "source_labels" (list "__address__") "regex" "127\\.0\\.0\\.1:(\\d+)" "target_label" "instance" "replacement" "${POD_NAME}:$1" }}
{{- $jobs = append $jobs (dict "job_name" "flink" "static_configs" (list $static) "relabel_configs" (list $rule)) }}
{{- else if or .Values.targets (include "flinkrelay.looks" .) }}
{{- $job := dict "job_name" "flink" }}
{{- if .Values.targets }}
{{- $static := dict "targets" .Values.targets }}
{{- if $labels }}{{- $_ := set $static "labels" $labels }}{{- end }}
{{- $_ := set $job "static_configs" (list $static) }}
{{- end }}
{{- if include "flinkrelay.looks" . }}
{{- $source := dict "source" "kubernetes" "ports" (toString .Values.discovery.flink.ports) }}
{{- with include "flinkrelay.looksIn" . | fromJsonArray }}{{- $_ := set $source "namespaces" (dict "names" .) }}{{- end }}
{{- with .Values.discovery.flink.selector }}{{- $_ := set $source "selector" . }}{{- end }}
{{- $_ := set $job "flink_sd_configs" (list $source) }}
{{- end }}
{{- $jobs = append $jobs $job }}
{{- end }}
{{- $_ := set $config "scrape_configs" (concat $jobs .Values.config.scrape_configs) }}
{{- $external := dig "external_labels" (dict) (default (dict) $config.global) }}
{{- if .Values.cluster }}
{{- $external = merge (dict) $external (dict "cluster" .Values.cluster) }}
{{- end }}
{{- if and .Values.replicaLabel (include "flinkrelay.replicated" .) }}
{{- $external = merge (dict .Values.replicaLabel "${POD_NAME}") $external }}
{{- end }}
{{- if $external }}
{{- $_ := set $config "global" (merge (dict "external_labels" $external) (default (dict) $config.global)) }}
{{- end }}
{{- if not $config.flink }}{{- $_ := unset $config "flink" }}{{- end }}
{{- toYaml $config }}
{{- end }}

{{- /* The relay's container, the same in a pod of its own and as a sidecar. */}}
{{- define "flinkrelay.container" -}}
{{- $sidecar := eq .Values.mode "sidecar" -}}
- name: flinkrelay
  image: {{ include "flinkrelay.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  {{- if $sidecar }}
  # An init container that goes on: it starts before Flink and ends after it.
  restartPolicy: Always
  {{- end }}
  args:
    - run
    - --config=/etc/flinkrelay/flinkrelay.yaml
    - --data-dir=/var/lib/flinkrelay
    - --listen={{ .Values.listenAddress }}:{{ .Values.port }}
    - --shutdown-grace={{ .Values.shutdownGrace }}
    - --log-format={{ .Values.logFormat }}
    - --log-level={{ .Values.logLevel }}
    {{- if $sidecar }}
    - --flink-rest={{ .Values.sidecar.flinkRest }}
    {{- end }}
    {{- range .Values.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  env:
    - name: POD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    - name: POD_NAMESPACE
      valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
    {{- if $sidecar }}
    # Native Kubernetes and the operator label pods with their cluster's id.
    - name: FLINK_CLUSTER
      valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}
    {{- end }}
    {{- if and (eq .Values.mode "statefulset") .Values.existingConfigMap }}
    # Which of the targets are this relay's: by the number at the end of the pod's name.
    - name: FLINKRELAY_SHARD
      value: {{ include "flinkrelay.shard" . | replace "${POD_NAME}" "$(POD_NAME)" }}
    {{- end }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.extraEnvFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - name: {{ if $sidecar }}relay{{ else }}http{{ end }}
      containerPort: {{ .Values.port }}
      protocol: TCP
  livenessProbe:
    {{- if $sidecar }}
    {{- /* Flink's image has ports of its own, so the sidecar's has a name of its own. No readiness probe: a relay that starts or stops
      must not take a JobManager out of its Service. */}}
    {{- toYaml (merge (dict "httpGet" (dict "path" (dig "httpGet" "path" "/-/healthy" .Values.livenessProbe) "port" "relay")) .Values.livenessProbe) | nindent 4 }}
    {{- else }}
    {{- toYaml .Values.livenessProbe | nindent 4 }}
  readinessProbe:
    {{- toYaml .Values.readinessProbe | nindent 4 }}
    {{- end }}
  resources:
    {{- toYaml (ternary .Values.sidecar.resources .Values.resources $sidecar) | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    - name: flinkrelay-config
      mountPath: /etc/flinkrelay
      readOnly: true
    - name: flinkrelay-spool
      mountPath: /var/lib/flinkrelay
    {{- range .Values.secrets }}
    - name: flinkrelay-secret-{{ .name }}
      mountPath: /etc/flinkrelay-secrets/{{ .name }}
      readOnly: true
    {{- end }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- /* Its volumes, but for a spool that is a claim. */}}
{{- define "flinkrelay.volumes" -}}
- name: flinkrelay-config
  configMap:
    name: {{ include "flinkrelay.configMapName" . }}
{{- if eq .Values.mode "sidecar" }}
- name: flinkrelay-spool
  emptyDir: {sizeLimit: {{ .Values.sidecar.spoolSizeLimit }}}
{{- else if not .Values.persistence.enabled }}
- name: flinkrelay-spool
  emptyDir: {sizeLimit: {{ .Values.persistence.size }}}
{{- else if eq .Values.mode "deployment" }}
- name: flinkrelay-spool
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingClaim | default (include "flinkrelay.fullname" .) }}
{{- end }}
{{- range .Values.secrets }}
- name: flinkrelay-secret-{{ .name }}
  secret:
    secretName: {{ .name }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Metadata and spec of the pods of the central modes. */}}
{{- define "flinkrelay.pod" -}}
metadata:
  labels:
    {{- /* Not the chart's version: a new one alone must not replace pods. */}}
    {{- include "flinkrelay.selectorLabels" . | nindent 4 }}
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if or .Values.podAnnotations (and .Values.rolloutOnConfigChange (not .Values.existingConfigMap)) }}
  annotations:
    {{- if and .Values.rolloutOnConfigChange (not .Values.existingConfigMap) }}
    checksum/config: {{ include "flinkrelay.settings" . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  serviceAccountName: {{ include "flinkrelay.serviceAccountName" . }}
  automountServiceAccountToken: {{ not (empty (include "flinkrelay.asksApi" .)) }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  containers:
    {{- include "flinkrelay.container" . | nindent 4 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "flinkrelay.volumes" . | nindent 4 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- $selector := dict "labelSelector" (dict "matchLabels" (include "flinkrelay.selectorLabels" . | fromYaml)) }}
    {{- range .Values.topologySpreadConstraints }}
    - {{ toYaml (merge (deepCopy .) $selector) | nindent 6 | trim }}
    {{- end }}
  {{- end }}
{{- end }}

{{- /* The pod template: for native Kubernetes as a file, for the operator as `podTemplate` of a FlinkDeployment. */}}
{{- define "flinkrelay.sidecar.pod" -}}
apiVersion: v1
kind: Pod
metadata:
  name: pod-template
  labels:
    {{- /* Not the chart's own: Flink's pods belong to Flink. */}}
    flinkrelay.sidecar: {{ .Release.Name }}
spec:
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  initContainers:
    {{- include "flinkrelay.container" . | nindent 4 }}
  containers:
    # Flink's own container, which Flink fills in; a pod needs one.
    - name: flink-main-container
  volumes:
    {{- include "flinkrelay.volumes" . | nindent 4 }}
{{- end }}
