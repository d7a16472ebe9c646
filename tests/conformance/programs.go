// Package conformance holds on to the programs that `make conformance` builds, so that go.mod and
// go.sum know all that they need. It has no code of its own.
package conformance

import (
	_ "k8s.io/kubernetes/test/e2e"
)
