{{/* What the operator does in every namespace that it serves: of a ClusterRole, or of a Role in each. */}}
{{- define "seawall.serviceRules" -}}
# What is asked for. Never written: the spec is its author's.
- apiGroups: [serving.seawall.dev]
  resources: [inferenceservices]
  verbs: [get, list, watch]
# Builds are the operator's own objects: made when a spec needs one, removed when nobody uses it any more.
- apiGroups: [serving.seawall.dev]
  resources: [modelbuilds]
  verbs: [get, list, watch, create, patch, delete]
# What has become of it.
- apiGroups: [serving.seawall.dev]
  resources: [inferenceservices/status, modelbuilds/status]
  verbs: [patch]
# Lets the operator set blockOwnerDeletion where the cluster guards it (OwnerReferencesPermissionEnforcement).
- apiGroups: [serving.seawall.dev]
  resources: [inferenceservices/finalizers, modelbuilds/finalizers]
  verbs: [update]
# The model servers, one Deployment for each revision.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# The phases of a build.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# The addresses of a service, and the account without rights under which its pods run.
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
# Evictions take one model server at a time.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# What may reach model servers and builds.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Scaling by the load, where Kubernetes' own autoscaler does it.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
# The same where the cluster serves KEDA.
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, create, patch, delete]
# What Prometheus reads, where the cluster serves its operator's kinds.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusrules]
  verbs: [get, list, create, patch, delete]
# Routes of our own, and the weights in routes that a service names. They are asked for by name; Gateways are
# their owners' business.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes, grpcroutes]
  verbs: [get, create, patch, delete]
# Why a model server does not come up, and where it is asked.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# The ones that a podTemplate mounts, or that hold the golden set of a comparison: their content is part of
# the revision.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
# What happened, beside the object that it happened to.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "seawall.classRules" -}}
# What models can run on.
- apiGroups: [serving.seawall.dev]
  resources: [acceleratorclasses]
  verbs: [list, watch]
{{- end -}}
