//go:build tools

// Package tools pins the programs that the lab builds from github.com/coredns/coredns.
package tools

import (
	_ "github.com/coredns/coredns"
)
