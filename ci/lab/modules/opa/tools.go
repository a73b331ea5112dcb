//go:build tools

// Package tools pins the programs that the lab builds from github.com/open-policy-agent/opa.
package tools

import (
	_ "github.com/open-policy-agent/opa"
)
