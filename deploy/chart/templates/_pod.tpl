{{- define "codewell.secrets" -}}/run/secrets/codewell{{- end -}}

{{/* The Kafka principal of a process: a service's own, or the operator's. */}}
{{- define "codewell.kafkaUser" -}}
{{- $user := get .root.Values.kafka.users (ternary .name "operator" (hasKey .root.Values.kafka.users .name)) -}}
{{- dict "name" $user.name "secret" (default $user.name $user.secret) | toJson -}}
{{- end -}}

{{- define "codewell.withSasl" -}}
{{- if hasPrefix "SASL_" .Values.kafka.securityProtocol }}true{{ end -}}
{{- end -}}

{{/* One environment variable. A number stays as it was written: quote would make 1073741824 to 1.073741824e+09. */}}
{{- define "codewell.variable" -}}
- name: {{ .name }}
{{- if kindIs "string" .value }}
  value: {{ .value | quote }}
{{- else if kindIs "slice" .value }}
  value: {{ join "," .value | quote }}
{{- else }}
  value: {{ .value | toJson | quote }}
{{- end }}
{{- end -}}

{{/* The environment of one process: dict "root" $ "name" "issuer"; "owner" is the schema's owner. */}}
{{- define "codewell.env" -}}
{{- $values := .root.Values -}}
{{- $at := include "codewell.secrets" . -}}
{{- $isOwner := eq .name "owner" -}}
{{- $user := ternary "$(POSTGRES_OWNER)" (printf "%s%s" $values.postgres.users.prefix .name) $isOwner -}}
{{- $query := printf "sslmode=%s" $values.postgres.sslMode -}}
{{- if hasPrefix "verify-" $values.postgres.sslMode -}}
{{- $query = printf "%s&sslrootcert=%s" $query (ternary (printf "%s/postgres-ca.crt" $at) "/etc/ssl/certs/ca-certificates.crt" (ne $values.postgres.ca.secret "")) -}}
{{- end -}}
{{- $own := dict
    "CODEWELL_POSTGRES_URL" (printf "postgresql://%s@%s/%s?%s" $user $values.postgres.host $values.postgres.database $query)
    "CODEWELL_POSTGRES_PASSWORD_FILE" (printf "%s/postgres-password" $at)
    "CODEWELL_KAFKA_BOOTSTRAP" $values.kafka.bootstrap
    "CODEWELL_KAFKA_SECURITY_PROTOCOL" $values.kafka.securityProtocol
    "CODEWELL_MASTER_KEY_FILE" (printf "%s/master-key" $at)
    "CODEWELL_HEALTH_HOST" "0.0.0.0"
    "CODEWELL_HEALTH_PORT" "8081"
    "CODEWELL_START_TIMEOUT_S" "600" -}}
{{- if $values.masterKey.previousKey }}{{ $_ := set $own "CODEWELL_MASTER_KEY_PREVIOUS_FILE" (printf "%s/master-key-previous" $at) }}{{ end -}}
{{- if $values.topicPrefix }}{{ $_ := set $own "CODEWELL_TOPIC_PREFIX" $values.topicPrefix }}{{ end -}}
{{- if $values.replyTopics }}{{ $_ := set $own "CODEWELL_REPLY_TOPICS" $values.replyTopics }}{{ end -}}
{{- if $values.publicUrl }}{{ $_ := set $own "CODEWELL_PUBLIC_URL" $values.publicUrl }}{{ end -}}
{{- if $values.allowInsecure }}{{ $_ := set $own "CODEWELL_ALLOW_INSECURE" "true" }}{{ end -}}
{{- if include "codewell.withSasl" .root -}}
{{- $_ := set $own "CODEWELL_KAFKA_SASL_MECHANISM" $values.kafka.saslMechanism -}}
{{- $_ := set $own "CODEWELL_KAFKA_SASL_USERNAME" (include "codewell.kafkaUser" . | fromJson).name -}}
{{- $_ := set $own "CODEWELL_KAFKA_SASL_PASSWORD_FILE" (printf "%s/kafka-password" $at) -}}
{{- end -}}
{{- if $values.kafka.clientCertificate -}}
{{- $_ := set $own "CODEWELL_KAFKA_SSL_CERT_FILE" (printf "%s/kafka-user.crt" $at) -}}
{{- $_ := set $own "CODEWELL_KAFKA_SSL_KEY_FILE" (printf "%s/kafka-user.key" $at) -}}
{{- end -}}
{{- if $values.kafka.ca.secret }}{{ $_ := set $own "CODEWELL_KAFKA_SSL_CA_FILE" (printf "%s/kafka-ca.crt" $at) }}{{ end -}}
{{- if and $values.smtpPassword.secret (has .name (list "generator" "console")) }}{{ $_ := set $own "CODEWELL_SMTP_PASSWORD_FILE" (printf "%s/smtp-password" $at) }}{{ end -}}
{{- if eq .name "console" -}}
{{- if $values.oidcClientSecret.secret }}{{ $_ := set $own "CODEWELL_OIDC_CLIENT_SECRET_FILE" (printf "%s/oidc-client-secret" $at) }}{{ end -}}
{{- /* The API has no TLS: what reaches this pod is for the ingress, the NetworkPolicy and the mesh to say. The checks
of the other connections that this setting would end are made by codewell.check. */ -}}
{{- $_ := set $own "CODEWELL_API_HOST" "0.0.0.0" -}}
{{- $_ := set $own "CODEWELL_API_PORT" "8080" -}}
{{- $_ := set $own "CODEWELL_ALLOW_INSECURE" "true" -}}
{{- end -}}
{{- if $isOwner }}
- name: POSTGRES_OWNER
  valueFrom:
    secretKeyRef: {name: {{ $values.postgres.owner.secret | quote }}, key: username}
{{- end }}
{{- with $values.kafka.rackLabel }}
- name: CODEWELL_KAFKA_CLIENT_RACK
  valueFrom:
    fieldRef: {fieldPath: "metadata.labels['{{ . }}']"}
{{- end }}
{{- range $name, $value := merge (deepCopy $values.settings) $own }}
{{ include "codewell.variable" (dict "name" $name "value" $value) }}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The Secrets of one process as files of one volume. */}}
{{- define "codewell.secretSources" -}}
{{- $values := .root.Values -}}
{{- $kafka := (include "codewell.kafkaUser" . | fromJson).secret -}}
{{- if eq .name "owner" }}
- secret: {name: {{ $values.postgres.owner.secret | quote }}, items: [{key: password, path: postgres-password}]}
{{- else }}
- secret: {name: {{ $values.postgres.users.secret | quote }}, items: [{key: {{ .name }}, path: postgres-password}]}
{{- end }}
- secret:
    name: {{ $values.masterKey.secret | quote }}
    items:
      - {key: {{ $values.masterKey.key | quote }}, path: master-key}
      {{- with $values.masterKey.previousKey }}
      - {key: {{ . | quote }}, path: master-key-previous}
      {{- end }}
{{- with $values.postgres.ca }}
{{- if .secret }}
- secret: {name: {{ .secret | quote }}, items: [{key: {{ .key | quote }}, path: postgres-ca.crt}]}
{{- end }}
{{- end }}
{{- with $values.kafka.ca }}
{{- if .secret }}
- secret: {name: {{ .secret | quote }}, items: [{key: {{ .key | quote }}, path: kafka-ca.crt}]}
{{- end }}
{{- end }}
{{- if include "codewell.withSasl" .root }}
- secret: {name: {{ $kafka | quote }}, items: [{key: password, path: kafka-password}]}
{{- end }}
{{- if $values.kafka.clientCertificate }}
- secret: {name: {{ $kafka | quote }}, items: [{key: user.crt, path: kafka-user.crt}, {key: user.key, path: kafka-user.key}]}
{{- end }}
{{- if and $values.smtpPassword.secret (has .name (list "generator" "console")) }}
- secret: {name: {{ $values.smtpPassword.secret | quote }}, items: [{key: {{ $values.smtpPassword.key | quote }}, path: smtp-password}]}
{{- end }}
{{- if and $values.oidcClientSecret.secret (eq .name "console") }}
- secret: {name: {{ $values.oidcClientSecret.secret | quote }}, items: [{key: {{ $values.oidcClientSecret.key | quote }}, path: oidc-client-secret}]}
{{- end }}
{{- if and (eq .name "owner") .root.Values.migration.logins }}
- secret:
    name: {{ $values.postgres.users.secret | quote }}
    items:
      {{- range include "codewell.services" .root | fromJsonArray }}
      - {key: {{ . }}, path: users/{{ . }}}
      {{- end }}
{{- end }}
{{- end -}}

{{/* What all pods have: no rights, no token, and nothing to write to but two directories. */}}
{{- define "codewell.podSpec" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pod.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* A worker finishes its batch first (CODEWELL_STOP_TIMEOUT_S), and a console sleeps before that. */}}
{{- define "codewell.grace" -}}
{{- add 15 (ceil (default 15 (get .Values.settings "CODEWELL_STOP_TIMEOUT_S"))) -}}
{{- end -}}

{{- define "codewell.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: secrets, mountPath: {{ include "codewell.secrets" . }}, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  - {name: home, mountPath: /var/lib/codewell}
  {{- with .root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "codewell.volumes" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- include "codewell.secretSources" . | nindent 6 }}
{{- if eq .name "console" }}
# Uploads: each is there twice, and a pod that exceeds the limit is evicted. There is room for two of the largest at once.
{{- $file := int64 (default 1073741824 (get .root.Values.settings "CODEWELL_IMPORT_BYTES_MAX")) }}
- {name: tmp, emptyDir: {sizeLimit: {{ add 268435456 (mul 4 $file) | quote }}}}
{{- else }}
- {name: tmp, emptyDir: {sizeLimit: 256Mi}}
{{- end }}
- {name: home, emptyDir: {sizeLimit: 64Mi}}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
