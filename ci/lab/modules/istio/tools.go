//go:build tools

// Package tools pins the programs that the lab builds from istio.io/istio.
package tools

import (
	_ "istio.io/istio/pilot/cmd/pilot-discovery"
	_ "istio.io/istio/pilot/cmd/pilot-agent"
	_ "istio.io/istio/cni/cmd/istio-cni"
)
