{{- /* federation.yaml, as the values have it. */}}
{{- define "nbfed.federation" -}}
{{- $file := .Values.hub.extraFiles.federation }}
{{- if not $file.stringData }}
{{- fail "hub.extraFiles.federation.stringData is missing: it is federation.yaml. Give its file to this chart, too: -f egi-check-in.yaml, for instance." }}
{{- end }}
{{- $read := fromYaml $file.stringData }}
{{- with $read.Error }}{{ fail (printf "hub.extraFiles.federation.stringData is not YAML: %s" .) }}{{ end }}
{{- toYaml $read }}
{{- end }}

{{- /* The batch sites that the gateway signs in to; empty if there are none. */}}
{{- define "nbfed.batchSites" -}}
{{- range $name, $site := (include "nbfed.federation" . | fromYaml).sites }}
{{- if and (eq $site.kind "batch") (eq ($site.access | default "robot") "robot") }}{{ $name }} {{ end }}
{{- end }}
{{- end }}

{{- define "nbfed.labels" -}}
app.kubernetes.io/name: nbfed
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "nbfed.selector" -}}
app.kubernetes.io/name: nbfed
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "nbfed.image" -}}
{{ .Values.hub.image.name }}:{{ .Values.hub.image.tag }}
{{- end }}

{{- /* What every pod of ours may not do. */}}
{{- define "nbfed.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "nbfed.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* /etc/nbfed: federation.yaml and its files, and the secrets of this one process; a folder that it may write to. */}}
{{- define "nbfed.volumes" -}}
- {name: files, configMap: {name: nbfed-files}}
# For the owner and the group of the process (0440).
- {name: secrets, secret: {secretName: {{ .secret }}, defaultMode: 288}}
- {name: scratch, emptyDir: {}}
{{- end }}

{{- define "nbfed.volumeMounts" -}}
- {name: files, mountPath: /etc/nbfed, readOnly: true}
- {name: secrets, mountPath: /etc/nbfed/secrets, readOnly: true}
- {name: state, mountPath: /srv/jupyterhub}
- {name: scratch, mountPath: /tmp}
{{- end }}

{{- /* Brings the tables to what this version needs: one pod at a time, the others wait and find nothing to do. */}}
{{- define "nbfed.tables" -}}
name: tables
image: {{ include "nbfed.image" .root }}
args: [nbfed, db, upgrade]
securityContext: {{- include "nbfed.containerSecurity" .root | nindent 2 }}
resources: {{- toYaml .resources | nindent 2 }}
volumeMounts: {{- include "nbfed.volumeMounts" .root | nindent 2 }}
{{- end }}

{{- /* A token that the jupyterhub chart made. */}}
{{- define "nbfed.token" -}}
name: NBFED_{{ upper .service }}_TOKEN
valueFrom: {secretKeyRef: {name: {{ .root.Values.custom.nbfed.hub.secret }}, key: hub.services.{{ .service }}.apiToken}}
{{- end }}

{{- /* A process is started anew when federation.yaml or its image changes. */}}
{{- define "nbfed.checksum" -}}
checksum/files: {{ include (print .Template.BasePath "/files.yaml") . | sha256sum }}
{{- end }}

{{- /* Names. */}}
{{- define "nbfed.dnsEgress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}

{{- define "nbfed.portsEgress" -}}
{{- with . }}
- ports:
    {{- range . }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- end }}

{{- /* Pods of the jupyterhub chart. */}}
{{- define "nbfed.ofHub" -}}
podSelector: {matchLabels: {app: jupyterhub, component: {{ . }}}}
{{- end }}
