{{- define "control.labels" -}}
app.kubernetes.io/name: holdfast-control-plane
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "control.node" -}}
{{ include "control.labels" . }}
app.kubernetes.io/component: node
{{- end }}

{{- define "control.balancer" -}}
{{ include "control.labels" . }}
app.kubernetes.io/component: balancer
{{- end }}

{{- define "control.secure" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- /* Where a node is: its name and that of the service which names the pods. */}}
{{- define "control.domain" -}}
{{ .Release.Name }}-nodes.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{- /* NAME=NAME.domain:5433 of each of the three, or what is made of them. */}}
{{- define "control.each" -}}
{{- $all := list }}
{{- range $i := until 3 }}
{{- $name := printf "%s-%d" $.root.Release.Name $i }}
{{- $all = append $all (printf $.form $name (printf "%s.%s" $name (include "control.domain" $.root))) }}
{{- end }}
{{- join "," $all }}
{{- end }}
