# The three rules over every container of a pod, however it got there.
package kubernetes.admission

pod := input.request.object if input.request.kind.kind == "Pod"

# Every kind of container, so that none is a way around the rules.
containers contains container if {
  some kind in ["containers", "initContainers", "ephemeralContainers"]
  some container in pod.spec[kind]
}

# What a container says overrides what its pod says, as it does when it runs.
setting(container, name) := value if {
  value := container.securityContext[name]
} else := value if {
  value := pod.spec.securityContext[name]
}

may_be_root(container) if not setting(container, "runAsNonRoot")

may_be_root(container) if setting(container, "runAsUser") == 0

# With its slash at the end: registry.company.com.example.net is somebody else's.
registry := "registry.company.com/"

deny contains msg if {
  some container in containers
  container.securityContext.privileged
  msg := sprintf("container %q is privileged", [container.name])
}

deny contains msg if {
  some container in containers
  may_be_root(container)
  msg := sprintf("container %q may run as root", [container.name])
}

deny contains msg if {
  some container in containers
  not startswith(container.image, registry)
  msg := sprintf("container %q has image %q, which is not from %s", [
    container.name,
    container.image,
    registry,
  ])
}

# The files of an image can be mounted without running it.
deny contains msg if {
  some volume in pod.spec.volumes
  not startswith(volume.image.reference, registry)
  msg := sprintf("volume %q has image %q, which is not from %s", [
    volume.name,
    volume.image.reference,
    registry,
  ])
}
