{{- define "follower.labels" -}}
app.kubernetes.io/name: holdfast-follower
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "follower.tag" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "follower.secure" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "follower.environment" -}}
- name: HOLDFAST_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- { name: HOLDFAST_ACCOUNT, value: {{ required "account: the account of the cluster must be given" .Values.account | quote }} }
- { name: HOLDFAST_DATA_KEY_FILE, value: /run/secrets/holdfast/data_key }
{{- if .Values.secrets.tls }}
- { name: HOLDFAST_TLS_CERT_FILE, value: /run/secrets/tls/tls.crt }
- { name: HOLDFAST_TLS_KEY_FILE, value: /run/secrets/tls/tls.key }
{{- end }}
{{- if .Values.secrets.directory }}
- { name: HOLDFAST_LDAP_BIND_PASSWORD_FILE, value: /run/secrets/directory/bind_password }
{{- end }}
{{- range $name, $value := .Values.settings }}
- { name: HOLDFAST_{{ $name | upper }}, value: {{ $value | toString | quote }} }
{{- end }}
{{- end }}
