{{- define "websocket-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "websocket-operator.fullname" -}}
{{- $name := include "websocket-operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "websocket-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "websocket-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "websocket-operator.labels" -}}
{{ include "websocket-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: websocket-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "websocket-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "websocket-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* A full image reference. Called with (dict "root" $ "image" .Values.image "name" "wsc-operator"). */}}
{{- define "websocket-operator.image" -}}
{{- default (printf "%s/%s:%s" .root.Values.imageRegistry .name .root.Chart.AppVersion) .image }}
{{- end }}

{{- /* Permissions of the operator in the namespaces that it watches: one reason per rule, no rule without a call that needs it. */}}
{{- define "websocket-operator.rules" -}}
# Watches the resources. It never writes them: `spec` belongs to the user.
- apiGroups: [websocket-operator.io]
  resources: [websocketclusters]
  verbs: [get, list, watch]
# Reports the status and reserves serials, by server-side apply.
- apiGroups: [websocket-operator.io]
  resources: [websocketclusters/status]
  verbs: [patch]
# Required to set blockOwnerDeletion where OwnerReferencesPermissionEnforcement is on; nothing is written.
- apiGroups: [websocket-operator.io]
  resources: [websocketclusters/finalizers]
  verbs: [update]
# Owns server pods directly: creates them, writes their drain state, deletes drained ones. Watches proxy and Redis pods.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
# HAProxy and the managed Redis.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# Records the last valid spec, which stays in force while a newer one is invalid.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [list, watch, create, delete]
# The Services that clients and server pods connect to, HAProxy's configuration, and the agent's identity. What the agent's Role
# grants (get, list and watch of one ConfigMap) is covered by this rule, so neither bind nor escalate is needed.
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
# Grants each agent read access to its own ConfigMap only.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch, delete]
# Restricts connections to server, proxy and Redis pods.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# The managed Redis password, once, by POST. No Secret is ever read, listed, watched, changed or deleted.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
# Publishes its decisions; repetitions of an event are counted by patch.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
