{{- define "codewell.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of one service: dict "root" $ "name" "issuer". Never change it: selectors are immutable. */}}
{{- define "codewell.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "codewell.labels" -}}
{{ include "codewell.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: codewell
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The services that run, as a JSON list. */}}
{{- define "codewell.services" -}}
{{- $all := list "issuer" "generator" "console" -}}
{{- if .Values.lifecycle.enabled }}{{ $all = append $all "lifecycle" }}{{ end -}}
{{- toJson $all -}}
{{- end -}}

{{- define "codewell.port" -}}
{{- if eq . "console" }}8080{{ else }}8081{{ end -}}
{{- end -}}

{{/* The image of a service, or the common one: a digest wins over a tag. */}}
{{- define "codewell.image" -}}
{{- $common := .root.Values.image -}}
{{- $own := default dict (get (default dict (get .root.Values .name)) "image") -}}
{{- $repository := default $common.repository $own.repository -}}
{{- $digest := default (ternary "" $common.digest (ne (default "" $own.repository) "")) $own.digest -}}
{{- $tag := default (default .root.Chart.AppVersion $common.tag) $own.tag -}}
{{- if $digest }}{{ $repository }}@{{ $digest }}{{ else }}{{ $repository }}:{{ $tag }}{{ end -}}
{{- end -}}

{{/* What no schema can say; the first sentence that applies ends the rendering. */}}
{{- define "codewell.check" -}}
{{- $values := .Values -}}
{{- range $name, $what := dict
    "postgres.host" (list $values.postgres.host "the primary's host:port, such as codewell-db-rw:5432")
    "postgres.owner.secret" (list $values.postgres.owner.secret "the Secret with username and password of the schema's owner, such as codewell-db-app")
    "postgres.users.secret" (list $values.postgres.users.secret "the Secret with a password for each service's database user, under the keys issuer, generator and console")
    "kafka.bootstrap" (list $values.kafka.bootstrap "the brokers, as host:port,host:port")
    "masterKey.secret" (list $values.masterKey.secret "the Secret with the master key") -}}
{{- if not (first $what) }}{{ fail (printf "%s is empty: set it to %s." $name (last $what)) }}{{ end -}}
{{- end -}}
{{- if not $values.allowInsecure -}}
{{- if ne $values.postgres.sslMode "verify-full" }}{{ fail "postgres.sslMode is not verify-full: a connection to another host needs verified TLS. Set it and postgres.ca.secret, or allowInsecure: true if the network is private." }}{{ end -}}
{{- if not (has $values.kafka.securityProtocol (list "SSL" "SASL_SSL")) }}{{ fail "kafka.securityProtocol is neither SSL nor SASL_SSL: a connection to another host needs verified TLS. Set it and kafka.ca.secret, or allowInsecure: true if the network is private." }}{{ end -}}
{{- end -}}
{{- if and $values.kafka.ca.secret (not (has $values.kafka.securityProtocol (list "SSL" "SASL_SSL"))) }}{{ fail "kafka.ca.secret is set, but kafka.securityProtocol has no TLS: set SSL or SASL_SSL, or leave kafka.ca.secret empty." }}{{ end -}}
{{- if and $values.kafka.clientCertificate (not (has $values.kafka.securityProtocol (list "SSL" "SASL_SSL"))) }}{{ fail "kafka.clientCertificate is true, but kafka.securityProtocol has no TLS: set SSL." }}{{ end -}}
{{- if and $values.ingress.enabled (not $values.ingress.host) }}{{ fail "ingress.host is empty: set it to the console's host name." }}{{ end -}}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) }}{{ fail "httpRoute.parentRefs is empty: name the Gateway." }}{{ end -}}
{{- if and (eq $values.topics.mode "strimzi") (not $values.topics.strimzi.cluster) }}{{ fail "topics.strimzi.cluster is empty: set it to the name of the Kafka resource." }}{{ end -}}
{{- if and (eq $values.topics.mode "strimzi") (gt (int $values.topics.strimzi.minInsyncReplicas) (int $values.topics.strimzi.replicas)) }}{{ fail "topics.strimzi.minInsyncReplicas is above topics.strimzi.replicas, so that nothing could be written: lower it." }}{{ end -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "codewell.fullname" .)) }}{{ fail (printf "%s cannot begin the name of a Service, which has lower-case letters, digits and -, and begins with a letter: set fullnameOverride." (include "codewell.fullname" .)) }}{{ end -}}
{{- include "codewell.checkSecrets" . -}}
{{- if gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas) }}{{ fail "autoscaling.minReplicas is above autoscaling.maxReplicas." }}{{ end -}}
{{- end -}}

{{/* Each Secret is there and has the keys that are read; only where helm reaches a cluster, so not in helm template. */}}
{{- define "codewell.checkSecrets" -}}
{{- $there := lookup "v1" "Secret" .Release.Namespace "" -}}
{{- if hasKey $there "items" -}}
{{- $keys := dict -}}
{{- range $there.items }}{{ $_ := set $keys .metadata.name (default dict .data | keys) }}{{ end -}}
{{- $processes := include "codewell.services" . | fromJsonArray -}}
{{- range $name := append $processes "owner" -}}
{{- range include "codewell.secretSources" (dict "root" $ "name" $name) | fromYamlArray -}}
{{- $secret := .secret.name -}}
{{- if not (hasKey $keys $secret) }}{{ fail (printf "Secret %s is not in namespace %s: create it first; docs/kubernetes.md says which keys it has." $secret $.Release.Namespace) }}{{ end -}}
{{- range .secret.items -}}
{{- if not (has .key (get $keys $secret)) }}{{ fail (printf "Secret %s has no key %s in namespace %s." $secret .key $.Release.Namespace) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (has "username" (get $keys .Values.postgres.owner.secret)) }}{{ fail (printf "Secret %s has no key username in namespace %s." .Values.postgres.owner.secret .Release.Namespace) }}{{ end -}}
{{- end -}}
{{- end -}}
