# The rules as people commonly write them, holes included: only spec.containers is read, so init and
# ephemeral containers pass unseen, and a pod that sets runAsNonRoot for all its containers is
# turned away.
#
# This is the old syntax, which OPA 1.x serves only when it is started as --v0-compatible.
package kubernetes.admission

deny[msg] {
  input.request.kind.kind == "Pod"
  container := input.request.object.spec.containers[_]
  container.securityContext.privileged
  msg := sprintf("Privileged container is not allowed: %v", [container.name])
}

deny[msg] {
  input.request.kind.kind == "Pod"
  container := input.request.object.spec.containers[_]
  not container.securityContext.runAsNonRoot
  msg := sprintf("Container must set runAsNonRoot: %v", [container.name])
}

deny[msg] {
  input.request.kind.kind == "Pod"
  container := input.request.object.spec.containers[_]
  not startswith(container.image, "registry.company.com/")
  msg := sprintf("Image is not from the company registry: %v", [container.image])
}
