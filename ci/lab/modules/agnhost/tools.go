//go:build tools

// Package tools pins the probe program of the peers, which the lab builds from k8s.io/kubernetes.
package tools

import (
	_ "k8s.io/kubernetes/test/images/agnhost"
)
