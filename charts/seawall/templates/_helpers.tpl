{{- define "seawall.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "seawall" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-seawall" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "seawall.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "seawall.name" .) -}}
{{- end -}}

{{/* An image as the cluster is to fetch it: (list $ "nvcr.io/nvidia/tritonserver:26.06-py3") */}}
{{- define "seawall.from" -}}
{{- $registry := (index . 0).Values.imageRegistry -}}
{{- $parts := splitList "/" (index . 1) -}}
{{- $host := first $parts -}}
{{- if and $registry (gt (len $parts) 1) (or (contains "." $host) (contains ":" $host) (eq $host "localhost")) -}}
{{- $parts = rest $parts -}}
{{- end -}}
{{- if $registry -}}
{{- $parts = prepend $parts $registry -}}
{{- end -}}
{{- join "/" $parts -}}
{{- end -}}

{{- define "seawall.image" -}}
{{- $image := .Values.image -}}
{{- $tag := printf ":%s" ($image.tag | default .Chart.AppVersion) -}}
{{- if $image.digest -}}
{{- $tag = printf "@%s" $image.digest -}}
{{- end -}}
{{- include "seawall.from" (list . (print $image.repository $tag)) -}}
{{- end -}}

{{- define "seawall.selector" -}}
app.kubernetes.io/name: seawall
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "seawall.cacheSelector" -}}
app.kubernetes.io/name: seawall
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: cache
{{- end -}}

{{/* What all objects carry beside what they are selected by. */}}
{{- define "seawall.origin" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "seawall.labels" -}}
{{ include "seawall.selector" . }}
{{ include "seawall.origin" . }}
{{- end -}}

{{- define "seawall.classLabels" -}}
app.kubernetes.io/name: seawall
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: catalogue
{{ include "seawall.origin" . }}
{{- end -}}

{{/* The annotations of an object: (list $ $itsOwn); nothing where there are none. */}}
{{- define "seawall.annotations" -}}
{{- with merge (dict) (index . 1) (index . 0).Values.commonAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Everything below `metadata:` (list $ name namespace); an empty namespace for objects of the cluster. */}}
{{- define "seawall.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 }}
{{- with index . 2 }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "seawall.labels" $root | nindent 2 }}
{{- with include "seawall.annotations" (list $root dict) }}
{{ . }}
{{- end }}
{{- end -}}

{{/* One grant: (list $ kind name namespace kindOfRole nameOfRole); an empty namespace for ClusterRoleBindings. */}}
{{- define "seawall.binding" -}}
{{- $root := index . 0 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ if index . 2 }}RoleBinding{{ else }}ClusterRoleBinding{{ end }}
metadata:
  {{- include "seawall.metadata" (list $root (index . 1) (index . 2)) | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ index . 3 }}
  name: {{ index . 4 }}
subjects:
  - kind: ServiceAccount
    name: {{ include "seawall.serviceAccount" $root }}
    namespace: {{ $root.Release.Namespace }}
{{- end -}}

{{/* Values that each are right and together are not. */}}
{{- define "seawall.together" -}}
{{- $v := .Values -}}
{{- if and $v.rbac.create (not $v.rbac.clusterRoles) -}}
{{- if not $v.watchNamespaces -}}
{{- fail "rbac.clusterRoles=false: Roles are made in watchNamespaces, and there are none" -}}
{{- end -}}
{{- if $v.metricsAPI.enabled -}}
{{- fail "rbac.clusterRoles=false: metricsAPI.enabled must be false, because an API of the whole cluster needs a ClusterRole" -}}
{{- end -}}
{{- end -}}
{{- if and (not $v.serviceAccount.create) (not $v.serviceAccount.name) -}}
{{- fail "serviceAccount.create=false: serviceAccount.name must say which one there is" -}}
{{- end -}}
{{- if and $v.accelerators.tpu.image (not $v.accelerators.tpu.tritonVersion) -}}
{{- fail "accelerators.tpu.image: accelerators.tpu.tritonVersion must say which release is in it" -}}
{{- end -}}
{{- end -}}
