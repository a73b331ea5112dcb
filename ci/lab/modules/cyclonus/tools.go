//go:build tools

// Package tools pins the programs that the lab builds from github.com/mattfenwick/cyclonus.
package tools

import (
	_ "github.com/mattfenwick/cyclonus/cmd/cyclonus"
)
