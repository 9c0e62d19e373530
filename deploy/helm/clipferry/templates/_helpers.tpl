{{- define "clipferry.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "clipferry.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "clipferry.name" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{- define "clipferry.secret" -}}
{{- .Values.secret.existing | default (ternary (include "clipferry.name" .) "" (not (empty .Values.secret.create))) -}}
{{- end }}

{{- define "clipferry.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The name is fixed: the alerts and the dashboard know the pods by the job clipferry. */}}
{{- define "clipferry.selector" -}}
app.kubernetes.io/name: clipferry
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "clipferry.labels" -}}
{{ include "clipferry.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* deployment renders one of the two Deployments: root, component, args, o (its values), replicas (nil leaves them to KEDA). */}}
{{- define "clipferry.deployment" -}}
{{- $root := .root -}}
{{- $o := .o -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "clipferry.name" $root }}-{{ .component }}
  labels:
    {{- include "clipferry.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- if not (kindIs "invalid" .replicas) }}
  replicas: {{ .replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  selector:
    matchLabels:
      {{- include "clipferry.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  template:
    metadata:
      labels:
        {{- include "clipferry.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
        {{- with $o.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        checksum/config: {{ include (print $root.Template.BasePath "/config.yaml") $root | sha256sum }}
        {{- with $o.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "clipferry.serviceAccount" $root }}
      automountServiceAccountToken: false
      # For a Service named clipferry Kubernetes would add CLIPFERRY_PORT and the like,
      # and a variable of our prefix that is unknown is an error.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $o.terminationGracePeriodSeconds }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.podSecurityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $o.spreadOver }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "clipferry.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ $.component }}
      {{- end }}
      {{- with $o.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with $o.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $o.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $o.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ include "clipferry.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [{{ .component }}]
          envFrom:
            - configMapRef:
                name: {{ include "clipferry.name" $root }}
            {{- with include "clipferry.secret" $root }}
            - secretRef:
                name: {{ . }}
            {{- end }}
          env:
            - name: GOMEMLIMIT
              value: {{ $o.goMemLimit | quote }}
            {{- if $root.Values.apiKeyFile.secret }}
            - name: CLIPFERRY_API_KEY_FILE
              value: /etc/clipferry/api-key/{{ $root.Values.apiKeyFile.key }}
            {{- end }}
            {{- if $root.Values.caCertificates.configMap }}
            - name: SSL_CERT_FILE
              value: /etc/clipferry/ca/{{ $root.Values.caCertificates.key }}
            {{- end }}
            {{- with $root.Values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            - name: http
              containerPort: 8080
          startupProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 2
            failureThreshold: 30
          livenessProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: http}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 2
          {{- if eq .component "serve" }}
          # Proxies learn within these seconds that the pod goes.
          lifecycle:
            preStop:
              sleep: {seconds: 5}
          {{- end }}
          resources:
            {{- toYaml $o.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          {{- if or $root.Values.apiKeyFile.secret $root.Values.caCertificates.configMap }}
          volumeMounts:
            {{- if $root.Values.apiKeyFile.secret }}
            - name: api-key
              mountPath: /etc/clipferry/api-key
              readOnly: true
            {{- end }}
            {{- if $root.Values.caCertificates.configMap }}
            - name: ca
              mountPath: /etc/clipferry/ca
              readOnly: true
            {{- end }}
          {{- end }}
      {{- if or $root.Values.apiKeyFile.secret $root.Values.caCertificates.configMap }}
      volumes:
        {{- if $root.Values.apiKeyFile.secret }}
        - name: api-key
          secret:
            secretName: {{ $root.Values.apiKeyFile.secret }}
            items:
              - key: {{ $root.Values.apiKeyFile.key }}
                path: {{ $root.Values.apiKeyFile.key }}
        {{- end }}
        {{- if $root.Values.caCertificates.configMap }}
        - name: ca
          configMap:
            name: {{ $root.Values.caCertificates.configMap }}
        {{- end }}
      {{- end }}
{{- end }}

{{- define "clipferry.pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "clipferry.name" .root }}-{{ .component }}
  labels:
    {{- include "clipferry.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  maxUnavailable: {{ .o.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "clipferry.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end }}
